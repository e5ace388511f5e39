"""Receives a request's body, in the event loop, so that no thread waits for a client that sends slowly."""

from __future__ import annotations

import asyncio
import io
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from server.edge import limits
from server.edge.connection import Connection
from server.edge.errors import EdgeError
from server.edge.limits import Limits, MinRate

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
PIECE_BYTES = 64 * 1024
"""Smaller parts of a body are put together up to this size."""


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


class BodyInput(io.RawIOBase):
    """The `wsgi.input` of a request: the pieces of its body, each of which is freed once it is read.

    `is_whole`: nothing is missing at the end; else reading on raises ConnectionError.
    """

    def __init__(self, pieces: deque[bytearray], *, is_whole: bool) -> None:
        self._pieces = pieces
        self._is_whole = is_whole
        self._offset = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._pieces:
            if self._is_whole:
                return 0
            raise ConnectionError("the client disconnected or stopped sending")
        piece, start = self._pieces[0], self._offset
        count = min(len(buffer), len(piece) - start)
        buffer[:count] = piece[start : start + count]
        self._offset += count
        if self._offset == len(piece):
            self._pieces.popleft()
            self._offset = 0
        return count


class RequestBody:
    """The body of one request, of at most one byte more than the limit.

    It stays in pieces: to put twenty megabytes together, or to copy them, would hold up the event loop.
    """

    def __init__(self, receive: Receive, connection: Connection, edge: Limits, budget: MemoryBudget) -> None:
        self._receive = receive
        self._connection = connection
        self._limits = edge
        self._budget = budget
        self._charged = 0
        self._pieces: deque[bytearray] = deque()
        self._size = 0
        self.is_complete = False

    async def read(self, seconds: float) -> None:
        """Receives until the body is complete, too large or broken, its client too slow, or `seconds` are over.

        EdgeError 429: there is no memory for it.
        """
        loop = asyncio.get_running_loop()
        start = loop.time()
        rate = MinRate(self._limits.read_timeout, limits.MIN_UPLOAD_RATE, start)
        while not self._has_ended():
            left = min(rate.update(loop.time(), self._size), start + seconds - loop.time())
            try:
                message = await asyncio.wait_for(self._receive(), left)
            except asyncio.TimeoutError:
                return
            self._add(message)

    @property
    def _is_too_large(self) -> bool:
        return self._size > self._limits.max_body_bytes

    def _has_ended(self) -> bool:
        return self.is_complete or self._is_too_large or self._connection.is_body_broken or self._connection.is_lost

    def _add(self, message: Message) -> None:
        body = message.get("body", b"")[: self._limits.max_body_bytes + 1 - self._size]
        if self._pieces and len(self._pieces[-1]) + len(body) <= PIECE_BYTES:
            self._pieces[-1] += body  # a body may come by a byte at a time
        elif body:
            self._pieces.append(bytearray(body))
        self._size += len(body)
        if self._size > limits.SMALL_BODY_BYTES:
            self._budget.take(self._size - self._charged)
            self._charged = self._size
        self.is_complete = message["type"] == "http.request" and not message.get("more_body", False)

    def as_input(self) -> io.RawIOBase:
        """The `wsgi.input` for what was received."""
        return BodyInput(self._pieces, is_whole=self.is_complete or self._is_too_large)

    def release(self) -> None:
        """Gives the memory back."""
        self._budget.used -= self._charged
        self._charged = 0
        self._pieces = deque()
