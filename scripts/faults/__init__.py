"""The parts of scripts/chaos.py: a herd with its Consul, callers, faults, and what is seen of them from outside."""
