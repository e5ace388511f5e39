"""What `scripts/clients.py` runs: programs for clients that can be installed, and requests that others send."""
