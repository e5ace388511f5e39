"""What strangers may send to an open port, for scripts/attack.py."""
