"""Stored voices, and a cache of prepared ones."""
