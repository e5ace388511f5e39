"""Samples on their way from the thread that fetches them to the thread that plays them."""

from __future__ import annotations

import threading
from collections import deque

BYTES_PER_SAMPLE = 2


class AudioBuffer:
    """A queue of samples (signed 16 bit, mono) for one reader and one writer.

    The writer may exceed `max_seconds`: it asks with `wait_for_space` before it starts something new.
    """

    def __init__(self, max_seconds: float) -> None:
        self._max_seconds = max_seconds
        self._changed = threading.Condition()
        self._chunks: deque[bytes] = deque()
        self._num_bytes = 0
        self._sample_rate: int | None = None
        self._finished = False
        self._closed = False
        self._error: BaseException | None = None

    @property
    def buffered_seconds(self) -> float:
        """Seconds of audio that the reader has not taken."""
        return self._num_bytes / BYTES_PER_SAMPLE / self._sample_rate if self._sample_rate else 0.0

    @property
    def closed(self) -> bool:
        return self._closed

    # The reader's side

    def wait_for_sample_rate(self) -> int:
        """In Hz, once it is known. Raises the writer's error, or RuntimeError if the buffer ended before."""
        with self._changed:
            self._changed.wait_for(lambda: self._sample_rate is not None or self._finished)
            if self._sample_rate is None:
                raise self._error or RuntimeError("the stream was closed before it started")
            return self._sample_rate

    def read(self) -> bytes | None:
        """The next samples, as soon as there are any; None at the end. Raises the writer's error."""
        with self._changed:
            self._changed.wait_for(lambda: self._chunks or self._finished)
            if self._chunks:
                samples = self._chunks.popleft()
                self._num_bytes -= len(samples)
                self._changed.notify_all()
                return samples
            if self._error is not None:
                raise self._error
            return None

    def close(self) -> None:
        """Discards the samples and those still to come. May be called repeatedly, from any thread."""
        with self._changed:
            self._closed = self._finished = True
            self._error = None
            self._chunks.clear()
            self._num_bytes = 0
            self._changed.notify_all()

    # The writer's side

    def on_start(self, sample_rate: int) -> None:
        with self._changed:
            self._sample_rate = sample_rate
            self._changed.notify_all()

    def on_samples(self, samples: bytes) -> None:
        with self._changed:
            if not self._closed:
                self._chunks.append(samples)
                self._num_bytes += len(samples)
                self._changed.notify_all()

    def wait_for_space(self) -> None:
        """Blocks while more than `max_seconds` of audio are buffered and the buffer is open."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self.buffered_seconds <= self._max_seconds)

    def finish(self, error: BaseException | None = None) -> None:
        """No more samples will come; the reader gets `error` after the last one."""
        with self._changed:
            if not self._closed:
                self._error = error
            self._finished = True
            self._changed.notify_all()
