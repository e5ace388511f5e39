"""The parts of scripts/chaos.py: a cluster of nodes with its Consul, load, faults, and observers from outside."""
