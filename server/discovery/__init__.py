"""Consul: a client of the agent, the registration, and the configuration in the KV store."""
