"""Detects that a client disconnects while nothing is being written to it.

One thread sleeps in epoll for all connections, so a waiting request costs nothing and a disconnect is seen at once.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
from collections.abc import Callable, Iterator

_DISCONNECTED = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR | select.EPOLLONESHOT


class DisconnectWatcher:
    """Watches a socket for as long as a `with watch(...)` block lasts. `close` ends the thread."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._lock = threading.Lock()
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._wake_read, self._wake_write = os.pipe()
        self._epoll.register(self._wake_read, select.EPOLLIN)
        self._thread = threading.Thread(target=self._run, name="disconnect", daemon=True)
        self._thread.start()

    @contextlib.contextmanager
    def watch(self, connection: socket.socket | None, on_disconnect: Callable[[], None]) -> Iterator[None]:
        """Calls `on_disconnect` once if the peer disconnects meanwhile; it must be quick and thread-safe.

        Does nothing without a connection.
        """
        if connection is None:
            yield
            return
        fd = connection.fileno()
        with self._lock:
            self._callbacks[fd] = on_disconnect
            self._epoll.register(fd, _DISCONNECTED)
        try:
            yield
        finally:
            with self._lock:
                # Before another connection can get the same file descriptor.
                self._callbacks.pop(fd, None)
                with contextlib.suppress(OSError):
                    self._epoll.unregister(fd)

    def _run(self) -> None:
        while True:
            for fd, _ in self._epoll.poll():
                if fd == self._wake_read:
                    return
                with self._lock:
                    on_disconnect = self._callbacks.get(fd)
                    if on_disconnect is not None:
                        on_disconnect()

    def close(self) -> None:
        os.write(self._wake_write, b"\0")
        self._thread.join()
        self._epoll.close()
        os.close(self._wake_read)
        os.close(self._wake_write)
