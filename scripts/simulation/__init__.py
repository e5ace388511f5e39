"""The parts of scripts/simulate.py: a discrete-event model of a cluster, and of what Consul has to bear."""
