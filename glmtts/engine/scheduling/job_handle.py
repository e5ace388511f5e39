"""Both ends of a job: the request thread reads chunks or cancels, the engine's threads push chunks and finish it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from threading import Condition

from glmtts.dsp.audio import Wave
from glmtts.engine.api import FinishReason, Job, Report
from glmtts.errors import CancelledError, QueueTimeoutError


def _do_nothing() -> None:
    pass


class JobHandle:
    """See `glmtts.engine.api.Handle`; the engine's methods are below those.

    Args:
        expected_seconds: how much audio the job is expected to become.
        wake: called, without this handle's lock, when the engine should look at the job again: a chunk was taken, or
            the job was ended from the reader's side.
    """

    def __init__(self, job: Job, expected_seconds: float = 0.0, wake: Callable[[], None] = _do_nothing) -> None:
        self.job = job
        self.report = Report()
        self.expected_seconds = expected_seconds
        self.submitted = self._last_read = time.monotonic()
        self.started = False
        self.ended = False
        self.outcome: FinishReason = "stop"
        """The finish reason unless an error ends the job. Set by the engine, which knows how its segments ended."""
        self.buffered_seconds = 0.0
        """Seconds of audio that were pushed and not yet read."""
        self.playout_end: float | None = None
        """When a listener who plays from the first chunk on will have heard everything; None before that chunk."""
        self._cancelled = False
        self._error: Exception | None = None
        self._ready: deque[Wave] = deque()
        self._changed = Condition()
        self._wake = wake

    # For the request thread

    def chunks(self) -> Iterator[Wave]:
        """See `glmtts.engine.api.Handle`."""
        while True:
            with self._changed:
                self._wait_for_start()
                self._changed.wait_for(lambda: self._ready or self.ended)
                chunk = self._pop()
            self._wake()
            if chunk is not None:
                yield chunk
            elif self._error is not None:
                raise self._error
            else:
                return

    def cancel(self) -> None:
        """See `glmtts.engine.api.Handle`."""
        self._abort(CancelledError("the client went away"))

    def _wait_for_start(self) -> None:
        deadline = self.job.deadline
        timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
        if not self._changed.wait_for(lambda: self._ready or self.ended or self.started, timeout):
            self._end("error", QueueTimeoutError("the request was still queued at its deadline"))

    def _pop(self) -> Wave | None:
        self._last_read = time.monotonic()
        if self._cancelled or not self._ready:
            return None
        chunk = self._ready.popleft()
        self.buffered_seconds = sum(map(len, self._ready)) / self.job.sample_rate
        return chunk

    # For the engine

    def start(self) -> bool:
        """Marks the job as no longer queued, so that its deadline is void; False when it has already ended."""
        with self._changed:
            self.started = not self.ended
            self._changed.notify_all()
            return self.started

    def push(self, chunk: Wave) -> None:
        """Gives the reader another chunk, unless the job has ended."""
        with self._changed:
            if self.ended:
                return
            now, seconds = time.monotonic(), len(chunk) / self.job.sample_rate
            if self.playout_end is None:
                self.report.first_audio_seconds = now - self.submitted
                self.playout_end = now
            self.playout_end += seconds
            self.report.audio_seconds += seconds
            self.buffered_seconds += seconds
            self._ready.append(chunk)
            self._changed.notify_all()

    def finish(self, error: Exception | None = None) -> None:
        """Ends the job: after the chunks pushed so far the reader gets the end, or `error`."""
        with self._changed:
            self._end("error" if error else self.outcome, error)

    def reader_idle_seconds(self, now: float) -> float:
        """Seconds since the reader last took a chunk; 0.0 while there is none to take."""
        return now - self._last_read if self._ready else 0.0

    def drop_slow_reader(self) -> None:
        """Cancels the job, and drops its audio, because nobody reads it."""
        self._abort(CancelledError("the client read nothing for too long"))

    def wait(self, seconds: float | None) -> bool:
        """Sleeps for `seconds`, or until the job ends; True when it has ended."""
        with self._changed:
            return self._changed.wait_for(lambda: self.ended, seconds)

    def _abort(self, error: CancelledError) -> None:
        with self._changed:
            if not self.ended or self._ready:
                self._cancelled = True
                self._ready.clear()
                self.buffered_seconds = 0.0
                self._end("cancelled", error)
                self._error = error  # also when the job had ended well: the reader lacks the dropped audio
        self._wake()

    def _end(self, reason: FinishReason, error: Exception | None) -> None:
        if not self.ended:
            self.ended = True
            self.report.finish_reason = reason
            self._error = error
            self._changed.notify_all()
