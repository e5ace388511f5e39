"""Consul: its client, the registration, the configuration in its key-value store."""
