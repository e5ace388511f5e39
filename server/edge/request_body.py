"""Receives a request's body, in the event loop, so that no thread waits for a client that sends slowly."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from server.edge import limits
from server.edge.connection import Connection
from server.edge.errors import EdgeError
from server.edge.limits import Limits, MinRate

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]


class MemoryBudget:
    """How many bytes of bodies are in memory, of at most `size`."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.used = 0

    def take(self, count: int) -> None:
        """EdgeError 429: there is no room for `count` bytes."""
        if self.used + count > self.size:
            raise EdgeError(429, "busy", "too busy: other uploads take all the memory for them", retry_after=5)
        self.used += count


class BodyNeeded(BaseException):
    """Raised in the application when it reads a body that has not come yet; no handler of errors catches it."""


class PendingBody(io.RawIOBase):
    """The `wsgi.input` of a request whose body has not been read."""

    def readable(self) -> bool:
        return True

    def readinto(self, _buffer: object) -> int:
        raise BodyNeeded


class BrokenBody(io.RawIOBase):
    """The `wsgi.input` of a request whose body ended early."""

    def __init__(self, data: bytearray) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._data.readinto(buffer)
        if not count:
            raise ConnectionError("the client disconnected or stopped sending")
        return count


class RequestBody:
    """The body of one request. `data` has at most one byte more than the limit."""

    def __init__(self, receive: Receive, connection: Connection, edge: Limits, budget: MemoryBudget) -> None:
        self._receive = receive
        self._connection = connection
        self._limits = edge
        self._budget = budget
        self._charged = 0
        self.data = bytearray()
        self.is_complete = False

    async def read(self, seconds: float) -> None:
        """Receives until the body is complete, too large or broken, its client too slow, or `seconds` are over.

        EdgeError 429: there is no memory for it.
        """
        loop = asyncio.get_running_loop()
        start = loop.time()
        rate = MinRate(self._limits.read_timeout, limits.MIN_UPLOAD_RATE, start)
        while not self._has_ended():
            left = min(rate.update(loop.time(), len(self.data)), start + seconds - loop.time())
            try:
                message = await asyncio.wait_for(self._receive(), left)
            except asyncio.TimeoutError:
                return
            self._add(message)

    def _has_ended(self) -> bool:
        too_large = len(self.data) > self._limits.max_body_bytes
        return self.is_complete or too_large or self._connection.is_body_broken or self._connection.is_lost

    def _add(self, message: Message) -> None:
        body = message.get("body", b"")
        room = self._limits.max_body_bytes + 1 - len(self.data)
        self.data += body[:room]
        if len(self.data) > limits.SMALL_BODY_BYTES:
            self._budget.take(len(self.data) - self._charged)
            self._charged = len(self.data)
        self.is_complete = message["type"] == "http.request" and not message.get("more_body", False)

    def as_input(self) -> io.IOBase:
        """The `wsgi.input` for what was received."""
        too_large = len(self.data) > self._limits.max_body_bytes
        return io.BytesIO(self.data) if self.is_complete or too_large else BrokenBody(self.data)

    def release(self) -> None:
        """Gives the memory back."""
        self._budget.used -= self._charged
        self._charged = 0
        self.data = bytearray()
