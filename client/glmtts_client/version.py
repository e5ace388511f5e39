"""Versions of this package, and of the HTTP API that it speaks."""

RELEASE = "0.1.0"
"""As in pyproject.toml."""
API_VERSION = "1"
