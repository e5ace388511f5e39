"""The error of all sources."""

from __future__ import annotations


class FetchError(Exception):
    """A checkpoint that could not be fetched whole; the message says why and what to do."""
