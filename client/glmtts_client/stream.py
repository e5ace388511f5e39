"""Streamed speech: an iterator over samples, while a thread fetches the next ones.

The thread works ahead by complete segments, up to some seconds of audio. So a slow listener occupies no node, and
a node that fails is replaced while there is still audio to play.
"""

from __future__ import annotations

import threading
from types import TracebackType

from glmtts_client.audio_buffer import AudioBuffer
from glmtts_client.failover_stream import FailoverStream, SegmentReport

MAX_BUFFERED_SECONDS = 30.0
"""Seconds of unread audio up to which the next segment is requested."""


class SpeechStream:
    """Iterates over chunks of samples: signed 16 bit, little endian, mono, `sample_rate` Hz. For one reader.

    Nothing is requested before the first chunk or `sample_rate` is. Close it or use it in a `with` block, unless it is
    read to its end. Iterating raises ClientError.
    """

    def __init__(self, source: FailoverStream, buffer: AudioBuffer, *, seed: int) -> None:
        self.seed = seed
        self._source = source
        self._buffer = buffer
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @property
    def segments(self) -> tuple[SegmentReport, ...]:
        """Reports on the segments started so far."""
        return tuple(self._source.segments)

    @property
    def sample_rate(self) -> int:
        """In Hz; waits for the first response. Raises ClientError."""
        self._start()
        return self._buffer.wait_for_sample_rate()

    @property
    def buffered_seconds(self) -> float:
        """Seconds of audio that were fetched but not read yet."""
        return self._buffer.buffered_seconds

    def __iter__(self) -> SpeechStream:
        return self

    def __next__(self) -> bytes:
        self._start()
        samples = self._buffer.read()
        if samples is None:
            raise StopIteration
        return samples

    def close(self) -> None:
        """Ends the stream at once. May be called repeatedly, from any thread."""
        self._buffer.close()
        self._source.stop()

    def __enter__(self) -> SpeechStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None and not self._buffer.closed:
                self._thread = threading.Thread(target=self._run, name="speech-stream", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        try:
            self._source.run()
        except BaseException as error:  # the reader gets it
            self._buffer.finish(error)
        else:
            self._buffer.finish()
