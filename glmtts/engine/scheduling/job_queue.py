"""The jobs of an engine: those in line, first come, first served, and those that it has taken up.

Every engine has one, whatever it does with the jobs. Thread-safe; an engine's own state may be kept under the same
lock, `changed`. Knows nothing about models, and not why a job is taken up or ends.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Condition
from weakref import WeakSet

from glmtts.engine.api import Job
from glmtts.engine.scheduling.job_handle import JobHandle
from glmtts.errors import EngineError, QueueFullError


class Line:
    """`places`: how many may wait. `changed` is notified whenever something has happened; `version` counts that, so
    that a thread which looks first and sleeps then misses nothing.
    """

    def __init__(self, places: int) -> None:
        self.changed = Condition()
        self.closed = False
        self.version = 0
        self._places = places
        self._waiting: deque[JobHandle] = deque()
        self._running: list[JobHandle] = []
        self._known: WeakSet[JobHandle] = WeakSet()

    def notify(self) -> None:
        """Wakes everybody who sleeps in `sleep` or waits for `changed`."""
        with self.changed:
            self.version += 1
            self.changed.notify_all()

    def sleep(self, seen: int, seconds: float | None = None) -> None:
        """Until something has happened since `version` was `seen`."""
        with self.changed:
            self.changed.wait_for(lambda: self.version != seen, seconds)

    def submit(self, job: Job, expected: float, retry_after: float = 2.0) -> JobHandle:
        """Puts the job in line. QueueFullError when there is no place, EngineError once closed."""
        with self.changed:
            if self.closed:
                raise EngineError("the engine is closed")
            self._drop_ended()
            if len(self._waiting) >= self._places:
                raise QueueFullError(f"{len(self._waiting)} requests are waiting", retry_after=retry_after)
            handle = JobHandle(job, expected, self.notify)
            self._waiting.append(handle)
            self._known.add(handle)
            self.notify()
            return handle

    def take(self) -> JobHandle | None:
        """The job that has waited longest and has not ended in line; it is running from now on."""
        with self.changed:
            self._drop_ended()
            if not self._waiting:
                return None
            self._running.append(self._waiting.popleft())
            return self._running[-1]

    def leave(self, handle: JobHandle) -> None:
        """A job that was taken is done with."""
        with self.changed:
            self._running.remove(handle)
            self.notify()

    def waiting(self) -> int:
        """Jobs in line."""
        with self.changed:
            self._drop_ended()
            return len(self._waiting)

    def running(self) -> int:
        """Jobs that were taken and have not left."""
        with self.changed:
            return len(self._running)

    def unsent(self) -> float:
        """Seconds of sound that were made and that their readers have not taken, be the jobs done or not."""
        with self.changed:
            return sum(handle.unsent for handle in self._known)

    def owed(self, left: Callable[[JobHandle], float] | None = None) -> float:
        """Seconds of sound that all jobs will still want made; `left` tells how much of a running one."""
        with self.changed:
            running = [handle for handle in self._running if not handle.ended]
            waiting = sum(handle.expected for handle in self._waiting if not handle.ended)
        left = left or (lambda handle: max(0.0, handle.expected - handle.report.audio_seconds))
        return waiting + sum(map(left, running))

    def close(self, grace: float = 0.0) -> None:
        """Takes no more jobs, lets those there are finish for `grace` seconds and cancels the rest."""
        with self.changed:
            self.closed = True
            self.notify()
            self.changed.wait_for(self.empty, grace)
            left = [*self._waiting, *self._running]
        for handle in left:
            handle.cancel()

    def empty(self) -> bool:
        """Whether no job is in line or running."""
        with self.changed:
            self._drop_ended()
            return not self._waiting and not self._running

    def _drop_ended(self) -> None:
        self._waiting = deque(handle for handle in self._waiting if not handle.ended)
