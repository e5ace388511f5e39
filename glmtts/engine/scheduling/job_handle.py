"""Both ends of a running job: the request thread reads chunks or cancels, the engine's threads put them in and end it.

Counts what has been made and not yet taken, and how long a listener would have waited. Knows nothing about models,
slots or the order of jobs.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from threading import Condition

from glmtts.dsp.audio import Wave
from glmtts.engine.api import FinishReason, Job, Report
from glmtts.errors import CancelledError, QueueTimeoutError


def _nothing() -> None:
    pass


class JobHandle:
    """`expected`: seconds of sound that the job may become. `wake` is called, without any lock of this one held, when
    something has happened that the engine should look at: a chunk was taken, or the job ended from this side.
    """

    def __init__(self, job: Job, expected: float = 0.0, wake: Callable[[], None] = _nothing) -> None:
        self.job = job
        self.report = Report()
        self.expected = expected
        self.submitted = self._taken = time.monotonic()
        self.started = False
        self.ended = False
        self.cut_short = False
        """Set by the engine when a segment reached its maximum without coming to its end."""
        self.unsent = 0.0
        """Seconds of sound that have been made and not yet taken."""
        self.dry_at: float | None = None
        """When a listener who plays from the first chunk on will have heard all there is; None before that."""
        self._cancelled = False
        self._error: Exception | None = None
        self._ready: deque[Wave] = deque()
        self._changed = Condition()
        self._wake = wake

    # The request thread's side.

    def chunks(self) -> Iterator[Wave]:
        """See `glmtts.engine.api.Handle`."""
        while True:
            with self._changed:
                self._wait_in_line()
                self._changed.wait_for(lambda: self._ready or self.ended)
                self._taken = time.monotonic()
                chunk = None if self._cancelled or not self._ready else self._ready.popleft()
                if chunk is not None:
                    self.unsent = sum(map(len, self._ready)) / self.job.sample_rate
            self._wake()
            if chunk is not None:
                yield chunk
            elif self._error is not None:
                raise self._error
            else:
                return

    def _wait_in_line(self) -> None:
        deadline = self.job.deadline
        patience = None if deadline is None else max(0.0, deadline - time.monotonic())
        if not self._changed.wait_for(lambda: self._ready or self.ended or self.started, patience):
            self._finish("error", QueueTimeoutError("the request waited in line until its deadline"))

    def cancel(self) -> None:
        """See `glmtts.engine.api.Handle`."""
        self._give_up(CancelledError("the caller went away"))

    # The engine's side.

    def start(self) -> bool:
        """It is no longer in line, and its deadline holds no more; False when it has ended there."""
        with self._changed:
            self.started = not self.ended
            self._changed.notify_all()
            return self.started

    def put(self, chunk: Wave) -> None:
        """Gives the reader another piece of sound, unless the job has ended."""
        with self._changed:
            if self.ended:
                return
            now, seconds = time.monotonic(), len(chunk) / self.job.sample_rate
            if self.dry_at is None:
                self.report.first_audio_seconds = now - self.submitted
                self.dry_at = now
            self.dry_at += seconds
            self.report.audio_seconds += seconds
            self.unsent += seconds
            self._ready.append(chunk)
            self._changed.notify_all()

    def end(self, error: Exception | None = None) -> None:
        """After all that has been put in comes the end, or `error`."""
        with self._changed:
            self._finish("error" if error else "length" if self.cut_short else "stop", error)

    def unread(self, now: float) -> float:
        """Seconds since the reader last took a chunk, while there is one for him."""
        return now - self._taken if self._ready else 0.0

    def cut(self) -> None:
        """The reader does not read: what has been made for him is thrown away."""
        self._give_up(CancelledError("the reader took nothing for too long"))

    def wait(self, seconds: float | None) -> bool:
        """Sleeps; True when the job has been ended meanwhile."""
        with self._changed:
            return self._changed.wait_for(lambda: self.ended, seconds)

    def _give_up(self, error: CancelledError) -> None:
        with self._changed:
            if not self.ended or self._ready:
                self._cancelled = True
                self._ready.clear()
                self.unsent = 0.0
                self._finish("cancelled", error)
                self._error = error  # also where the job had ended well: what was thrown away is missing
        self._wake()

    def _finish(self, reason: FinishReason, error: Exception | None) -> None:
        if not self.ended:
            self.ended = True
            self.report.finish_reason = reason
            self._error = error
            self._changed.notify_all()
