"""What can go wrong between a node and Consul."""

from __future__ import annotations

from typing import Literal

ErrorKind = Literal["unreachable", "denied", "failed", "unconfirmed"]


class ConsulError(Exception):
    """A call to Consul failed. `kind`: unreachable, denied (by an ACL), failed (any other error), or unconfirmed (the
    agent holds a service that the catalogue does not show). Its text never holds the token."""

    def __init__(self, kind: ErrorKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class ConflictError(Exception):
    """Another node has our service id: registering would replace it."""


class NoAddressError(Exception):
    """Clients cannot come to the address that they would get."""
