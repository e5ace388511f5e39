"""Detects that a client leaves while nothing is being written to it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from server.edge.connection import KEY, Connection


def watch_client(environ: dict[str, Any], on_disconnect: Callable[[bool], None]) -> AbstractContextManager[None]:
    """Calls `on_disconnect` once if the client of a WSGI request leaves during the block; see `Connection.watch`."""
    connection: Connection | None = environ.get(KEY)
    return nullcontext() if connection is None else connection.watch(on_disconnect)
