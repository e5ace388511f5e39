"""Tells when a caller hangs up while nothing is being written to him. Knows sockets, and nothing about requests.

One thread sleeps in epoll for all connections, so a waiting request costs nothing and is told at once.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
from collections.abc import Callable, Iterator

_GONE = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR | select.EPOLLONESHOT


class HangupWatch:
    """Watches sockets for as long as a `with watching(...)` block lasts. `close` ends its thread."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._lock = threading.Lock()
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._wake_read, self._wake_write = os.pipe()
        self._epoll.register(self._wake_read, select.EPOLLIN)
        self._thread = threading.Thread(target=self._run, name="hangup", daemon=True)
        self._thread.start()

    @contextlib.contextmanager
    def watching(self, connection: socket.socket | None, gone: Callable[[], None]) -> Iterator[None]:
        """Calls `gone` (quick, thread-safe) once if the peer closes meanwhile. No socket, nothing to watch."""
        if connection is None:
            yield
            return
        number = connection.fileno()
        with self._lock:
            self._callbacks[number] = gone
            self._epoll.register(number, _GONE)
        try:
            yield
        finally:
            with self._lock:
                # Before the number can belong to another connection.
                self._callbacks.pop(number, None)
                with contextlib.suppress(OSError):
                    self._epoll.unregister(number)

    def _run(self) -> None:
        while True:
            for number, _ in self._epoll.poll():
                if number == self._wake_read:
                    return
                with self._lock:
                    gone = self._callbacks.get(number)
                    if gone is not None:
                        gone()

    def close(self) -> None:
        os.write(self._wake_write, b"\0")
        self._thread.join()
        self._epoll.close()
        os.close(self._wake_read)
        os.close(self._wake_write)
