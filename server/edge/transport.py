"""A transport that counts what the client takes, and leaves closing, reading and a change of protocols to others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

MAX_UNREAD_BYTES = 16 * 2**20
"""A client for whom more waits is cut: one that floods a WebSocket with pings and reads no answer."""


class MeteredTransport:
    """Wraps an asyncio transport. `close` calls `on_close`, which may let the client finish sending first.

    `set_protocol` calls `on_protocol`. Reading stops while the protocol has paused it or an inbox holds it;
    `on_resume` is called when the protocol wants data again.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        on_close: Callable[[], None],
        on_protocol: Callable[[asyncio.Protocol], None],
    ) -> None:
        self.inner = transport
        self.on_resume: Callable[[], None] = lambda: None
        self.wants_data = True
        self._on_close, self.set_protocol = on_close, on_protocol
        self._is_held = False
        self._is_closing = False
        self._written = 0

    @property
    def taken(self) -> int:
        """Bytes that have left for the kernel's buffer, which drains as the client reads."""
        return self._written - self.inner.get_write_buffer_size()

    def write(self, data: bytes) -> None:
        if self.inner.get_write_buffer_size() > MAX_UNREAD_BYTES:
            self.inner.abort()
            return
        self._written += len(data)
        self.inner.write(data)

    def pause_reading(self) -> None:
        self.wants_data = False
        self.inner.pause_reading()

    def resume_reading(self) -> None:
        self.wants_data = True
        self._read()
        self.on_resume()

    def hold_reading(self, hold: bool) -> None:
        """Stops reading until it is called with False."""
        self._is_held = hold
        self._read()

    def _read(self) -> None:
        if self._is_held or not self.wants_data:
            self.inner.pause_reading()
        else:
            self.inner.resume_reading()

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            self._on_close()

    def finish(self) -> None:
        """Closes the transport itself. Once: the second time, one with TLS forgets what it still has to send."""
        if not self.inner.is_closing():
            self.inner.close()

    def is_closing(self) -> bool:
        return self._is_closing or self.inner.is_closing()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)
