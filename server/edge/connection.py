"""What the application knows of a client's connection: whether the client is still there."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

KEY = "server.connection"
"""The connection's name in ASGI's `scope["state"]` and in the WSGI environment."""


class Connection:
    """The state of one client's connection. The event loop changes it, request threads look at it.

    `close` closes it, once everything written has been sent.
    """

    def __init__(self, close: Callable[[], None]) -> None:
        self._close = close
        self._closed = asyncio.Event()
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[bool], None]] = []
        self.is_lost = False
        """Nothing can be written any more."""
        self.has_left = False
        """The client has closed its side at least. It no longer waits for a response that has not begun."""
        self.is_too_slow = False
        """The connection is cut because its client does not read."""
        self.is_chunked = False
        """The response is one of unknown length."""
        self.is_body_broken = False
        """The rest of a request's body will not come, or is not HTTP."""

    @contextmanager
    def watch(self, on_disconnect: Callable[[bool], None]) -> Iterator[None]:
        """Calls `on_disconnect` once if the client leaves during the block, or has left before.

        Its argument is whether the client was cut off because it did not read. It is called in the event loop, so it
        must be quick.
        """
        with self._lock:
            self._callbacks.append(on_disconnect)
            left = self.has_left
        if left:
            self._notify()
        try:
            yield
        finally:
            with self._lock:
                if on_disconnect in self._callbacks:
                    self._callbacks.remove(on_disconnect)

    def leave(self) -> None:
        """The client does not wait for its response any more."""
        self.has_left = True
        self._notify()

    def lose(self) -> None:
        """The connection is closed."""
        self.is_lost = True
        self._closed.set()
        self.leave()

    async def cut(self) -> None:
        """Closes the connection, without a clean end of a response."""
        self._close()
        await self._closed.wait()

    def _notify(self) -> None:
        with self._lock:
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self.is_too_slow)
