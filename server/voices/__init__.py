"""Stored voices, and the cache of prepared ones."""
