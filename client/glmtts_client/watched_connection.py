"""HTTP connections whose reader looks around while nothing arrives.

urllib3 reads a response's head and body with blocking calls that only a timeout ends, the same for a node that is dead
and for one that is busy. Here the thread that waits calls a `Watch` now and then, which may raise.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util.wait import wait_for_read


class Watch(Protocol):
    """Called by the thread that reads a response."""

    def on_data(self) -> None:
        """Something has arrived."""

    def on_wait(self, since: float) -> float:
        """Nothing has arrived since then, on `time.monotonic`'s clock: returns seconds until the next call.

        Raises to end the wait.
        """
        ...


_watch: ContextVar[Watch | None] = ContextVar("watch", default=None)


@contextmanager
def watching(watch: Watch) -> Iterator[None]:
    """Makes `watch` that of every response that this thread reads in the block."""
    token = _watch.set(watch)
    try:
        yield
    finally:
        _watch.reset(token)


class _Reader(io.RawIOBase):
    """Reads from a socket, as `socket.SocketIO` does, within the socket's timeout."""

    def __init__(self, connection: socket.socket, raw: io.RawIOBase) -> None:
        self._socket, self._raw = connection, raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        watch = _watch.get()
        if watch is None:
            return self._raw.readinto(buffer)
        timeout = self._socket.gettimeout()
        self._socket.settimeout(0)
        try:
            count = self._read(buffer, watch, timeout)
        finally:
            self._socket.settimeout(timeout)
        if count:
            watch.on_data()
        return count

    def _read(self, buffer: Any, watch: Watch, timeout: float | None) -> int:
        """Tries before it polls: what TLS has received may be decrypted already, or not be for the reader."""
        start = time.monotonic()
        while True:
            try:
                return self._socket.recv_into(buffer)
            except (BlockingIOError, ssl.SSLWantReadError):
                remaining = float("inf") if timeout is None else start + timeout - time.monotonic()
            if remaining <= 0:
                raise TimeoutError("timed out")
            wait_for_read(self._socket, min(watch.on_wait(start), remaining))

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_Reader(sock, self.fp.detach()))


class _Connection(HTTPConnection):
    response_class = _Response


class _SecureConnection(HTTPSConnection):
    response_class = _Response


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


POOL_CLASSES = {"http": _Pool, "https": _SecurePool}
"""For `PoolManager.pool_classes_by_scheme`."""


class KeepAliveAdapter(HTTPAdapter):
    """Detects within 25 seconds that a host is gone, even if nothing is being sent, by TCP keep-alive probes."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        options = [*HTTPConnection.default_socket_options, (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
        for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
            if hasattr(socket, name):  # not on every platform
                options.append((socket.IPPROTO_TCP, getattr(socket, name), value))
        super().init_poolmanager(*args, **kwargs, socket_options=options)
        self.poolmanager.pool_classes_by_scheme = POOL_CLASSES
