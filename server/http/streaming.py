"""The body of a streaming response: encoded audio that leaves while it is being made.

A WSGI body's `close` may be called never, once or twice, whether iteration has started or not, and a generator that has
not started runs no `finally`: that is why this is an iterator class.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Protocol

from glmtts.dsp.audio import Wave
from glmtts.errors import CancelledError
from server.errors import ErrorInfo
from server.http.encoding import Encoder


class Framing(Protocol):
    """How the bytes of an audio file stand in the body of a stream."""

    content_type: str | None
    """Of the body. None: that of the file."""

    def audio(self, data: bytes) -> bytes:
        """The next bytes of the file; `data` may be empty."""
        ...

    def end(self) -> bytes:
        """What follows the whole file."""
        ...

    def error(self, info: ErrorInfo) -> bytes | None:
        """What tells the client that the file is cut. None: only the end of the connection can."""
        ...


class BareAudio:
    """The body is the file."""

    content_type: str | None = None

    def audio(self, data: bytes) -> bytes:
        return data

    def end(self) -> bytes:
        return b""

    def error(self, info: ErrorInfo) -> bytes | None:
        return None


class SpeechStream:
    """Encodes `chunks` one by one, and releases `resources` when closed.

    `on_error` describes an error after the first byte, and CancelledError if the client did not read it all.
    """

    def __init__(
        self,
        chunks: Iterator[Wave],
        encoder: Encoder,
        framing: Framing,
        on_error: Callable[[Exception], ErrorInfo],
        resources: ExitStack,
    ) -> None:
        self._chunks = chunks
        self._encoder = encoder
        self._framing = framing
        self._on_error = on_error
        self._resources = resources
        self._ended = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._ended:
            raise StopIteration
        try:
            for wave in self._chunks:
                if data := self._encoder.encode(wave):
                    return self._framing.audio(data)
            self._ended = True
            return self._framing.audio(self._encoder.flush()) + self._framing.end()
        except Exception as error:
            self._ended = True
            if (message := self._framing.error(self._on_error(error))) is not None:
                return message
            # On this error the edge closes the connection without the final, empty chunk.
            raise BrokenPipeError(errno.EPIPE, "the response was cut short") from error

    def close(self) -> None:
        """Cancels the job if it still runs, and releases everything. May be called any number of times."""
        if not self._ended:
            self._on_error(CancelledError("the client stopped reading"))
        self._ended = True
        self._resources.close()
