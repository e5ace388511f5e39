"""Speech as it is made: an iterator of samples that a listener reads at his own pace, while the next ones are fetched.

A thread of its own speaks ahead, to the end of a segment and up to some seconds: so a slow listener holds up no node,
and a node that is lost is replaced while there is still something to hear. Knows nothing about nodes.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType

from glmtts_client.failover_stream import FailoverStream, SegmentReport

MAX_BUFFERED_SECONDS = 30.0
"""Seconds of sound that may wait for the listener before the next segment is asked for."""


class SpeechStream:
    """Iterates over pieces of signed 16-bit little-endian samples, one channel, `sample_rate` Hz. For one listener.

    Nothing is asked for before the first piece, or `sample_rate`, is. Close it, or use it in a `with`, unless it was
    read to its end.
    """

    def __init__(
        self,
        make_relay: Callable[[Callable[[int], None], Callable[[bytes], None], Callable[[], None]], FailoverStream],
        *,
        seed: int,
        max_buffered_seconds: float = MAX_BUFFERED_SECONDS,
    ) -> None:
        self.seed = seed
        self._limit = max_buffered_seconds
        self._relay = make_relay(self._begin, self._put, self._room)
        self._changed = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._rate: int | None = None
        self._ended = False
        self._closed = False
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    @property
    def segments(self) -> tuple[SegmentReport, ...]:
        """What is known of the segments that were begun."""
        return tuple(self._relay.segments)

    @property
    def sample_rate(self) -> int:
        """Waits for the first answer."""
        self._start()
        with self._changed:
            self._changed.wait_for(lambda: self._rate is not None or self._ended)
            if self._rate is None:
                raise self._error or RuntimeError("the stream was closed before it began")
            return self._rate

    @property
    def buffered_seconds(self) -> float:
        """Seconds of sound that wait for the listener."""
        return self._bytes / 2 / self._rate if self._rate else 0.0

    def __iter__(self) -> SpeechStream:
        return self

    def __next__(self) -> bytes:
        self._start()
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ended)
            if not self._waiting or self._closed:
                if self._error is not None and not self._closed:
                    raise self._error
                raise StopIteration
            piece = self._waiting.popleft()
            self._bytes -= len(piece)
            self._changed.notify_all()
            return piece

    def close(self) -> None:
        """Ends it now. Any number of times, from any thread."""
        with self._changed:
            self._closed = self._ended = True
            self._waiting.clear()
            self._changed.notify_all()
        self._relay.stop()

    def __enter__(self) -> SpeechStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self) -> None:
        with self._changed:
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="speech-stream", daemon=True)
                self._thread.start()

    # In the thread that speaks ahead:

    def _run(self) -> None:
        try:
            self._relay.run()
        except BaseException as error:
            self._error = error
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _begin(self, rate: int) -> None:
        with self._changed:
            self._rate = rate
            self._changed.notify_all()

    def _put(self, samples: bytes) -> None:
        with self._changed:
            if not self._closed:
                self._waiting.append(samples)
                self._bytes += len(samples)
                self._changed.notify_all()

    def _room(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self.buffered_seconds <= self._limit)
