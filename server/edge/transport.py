"""A transport that counts what the client takes, and leaves closing to its protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

MAX_UNREAD_BYTES = 16 * 2**20
"""A client for whom more waits is cut: one that floods a WebSocket with pings and reads no answer."""


class MeteredTransport:
    """Wraps an asyncio transport. `close` calls `on_close`, which may let the client finish sending first."""

    def __init__(self, transport: asyncio.Transport, on_close: Callable[[], None]) -> None:
        self.inner = transport
        self._on_close = on_close
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
