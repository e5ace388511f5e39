"""A running job as the body of an answer: audio leaves while it is being made.

A WSGI body must be an iterator class whose `close` may come never, once or twice, started or not: that is why this is
no generator. Knows nothing about requests, voices or the engine's inside.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import numpy as np

from glmtts.dsp.audio import Wave
from glmtts.engine.api import Handle
from glmtts.errors import CancelledError, EngineError
from server.http.encoding import Encoder, Resampler

_NOTHING: Wave = np.zeros(0, np.float32)


class SpeechStream:
    """Encoded audio, chunk by chunk. `begin` waits for the first chunk, so that an early failure has its status.

    What it owns is given back at the end, whatever the end is. `failed` is told of an error after the first byte, and
    of a caller who did not take it all.
    """

    def __init__(
        self, chunks: Iterator[Wave], resampler: Resampler, encoder: Encoder, failed: Callable[[Exception], None]
    ) -> None:
        self._chunks = chunks
        self._resampler = resampler
        self._encoder = encoder
        self._resources = ExitStack()
        self._failed = failed
        self._first: Wave | None = None
        self._ended = False

    def begin(self) -> None:
        """Waits for the first chunk; raises whatever the job raises instead of it."""
        self._first = next(self._chunks, None)
        if self._first is None:
            raise EngineError("the job ended without audio")

    def own(self, resources: ExitStack) -> None:
        """Takes over what `close` shall give back."""
        self._resources.push(resources)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._ended:
            raise StopIteration
        try:
            while True:
                wave, self._first = (next(self._chunks, None) if self._first is None else self._first), None
                if wave is None:
                    self._ended = True
                    return self._encoder.encode(self._resampler.feed(_NOTHING, last=True)) + self._encoder.flush()
                if data := self._encoder.encode(self._resampler.feed(wave)):
                    return data
        except Exception as error:
            self._ended = True
            self._failed(error)
            # gunicorn closes the connection at this one quietly and without the last, empty chunk.
            raise BrokenPipeError(errno.EPIPE, "the answer is cut short") from error

    def close(self) -> None:
        """Ends the job if it runs and gives everything back. Any number of times."""
        if not self._ended:
            self._failed(CancelledError("the caller took no more"))
        self._ended = True
        self._resources.close()


def collect(handle: Handle, resampler: Resampler, started: Callable[[], None]) -> Wave:
    """The whole utterance at the wanted rate; `started` is called at its first chunk. Raises the job's exception."""
    pieces: list[Wave] = []
    for wave in handle.chunks():
        if not pieces:
            started()
        pieces.append(resampler.feed(wave))
    if not pieces:
        raise EngineError("the job ended without audio")
    return np.concatenate([*pieces, resampler.feed(_NOTHING, last=True)])
