"""How slow and how large a client may be."""

from __future__ import annotations

from dataclasses import dataclass

MIN_UPLOAD_RATE = 500
"""Bytes per second that a body must arrive with."""
MIN_DOWNLOAD_RATE = 2000
"""Bytes per second that a client must take while bytes wait for it: less than a listener of 24 kbit/s opus takes."""
MAX_HEAD_BYTES = 16 * 1024
MAX_CONNECTIONS = 4096
KEEPALIVE_SECONDS = 15
"""How long a connection may be idle, before its first request or between two."""
TLS_HANDSHAKE_SECONDS = 5.0
"""How long a connection may take to agree on TLS, before it counts among the others."""
LINGER_SECONDS = 1.0
LINGER_BYTES = 64 * 1024
"""How long, and how much, a refused client may go on sending, so that it reads the answer instead of a reset."""
SEND_BUFFER_BYTES = 256 * 1024
"""How much of a response the kernel may buffer for a client that does not read (5 s of 24 kHz audio)."""
MAX_MESSAGE_BYTES = 8 * 2**20
"""Largest message of a WebSocket: a recording of 30 s in base64."""
SMALL_BODY_BYTES = 64 * 1024
"""A body up to this size is always read; larger ones share a budget of memory."""


@dataclass(frozen=True)
class Limits:
    """The limits that are settings; `max_buffered_bytes` is that budget. Times are in seconds."""

    read_timeout: float
    request_timeout: float
    write_timeout: float
    max_body_bytes: int
    max_connections: int

    @property
    def max_buffered_bytes(self) -> int:
        return 8 * self.max_body_bytes


class MinRate:
    """How much longer a peer may take: a token bucket of seconds, which time empties and the bytes it moves refill.

    A peer that moves nothing has `seconds`; one that moves less than `bytes_per_second` runs out of them sooner or
    later, however it spreads its bytes.
    """

    def __init__(self, seconds: float, bytes_per_second: float, now: float) -> None:
        self._seconds = self._left = seconds
        self._rate = bytes_per_second
        self._now = now
        self._moved = 0

    def update(self, now: float, moved: int, *, waiting: bool = True) -> float:
        """Seconds left at `now`, when `moved` bytes have been moved in all. Without `waiting`, time does not count."""
        left = self._left - (now - self._now) + (moved - self._moved) / self._rate
        self._left = min(self._seconds, left) if waiting else self._seconds
        self._now, self._moved = now, moved
        return self._left
