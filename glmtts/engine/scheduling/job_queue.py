"""An engine's jobs: those that are queued, first in first out, and those that are running.

Thread-safe. An engine may keep its own state under the same lock, `changed`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Condition
from weakref import WeakSet

from glmtts.engine.api import Job
from glmtts.engine.scheduling.job_handle import JobHandle
from glmtts.errors import EngineError, QueueFullError


class JobQueue:
    """Holds at most `capacity` queued jobs.

    `changed` is notified whenever something has happened, and `version` counts that: a thread that reads `version`,
    looks around and then sleeps misses nothing.
    """

    def __init__(self, capacity: int) -> None:
        self.changed = Condition()
        self.closed = False
        self.version = 0
        self._capacity = capacity
        self._waiting: deque[JobHandle] = deque()
        self._running: list[JobHandle] = []
        self._handles: WeakSet[JobHandle] = WeakSet()
        """All whose reader may still have audio to take, ended or not."""

    def notify(self) -> None:
        """Wakes every thread that sleeps in `sleep` or waits for `changed`."""
        with self.changed:
            self.version += 1
            self.changed.notify_all()

    def sleep(self, version: int, seconds: float | None = None) -> None:
        """Sleeps until something has happened since `version` was read, at most for `seconds`."""
        with self.changed:
            self.changed.wait_for(lambda: self.version != version, seconds)

    def submit(self, job: Job, expected_seconds: float, retry_after: float = 2.0) -> JobHandle:
        """Queues the job. Raises QueueFullError when the queue is full, and EngineError once it is closed."""
        with self.changed:
            if self.closed:
                raise EngineError("the engine is closed")
            self._drop_ended()
            if len(self._waiting) >= self._capacity:
                raise QueueFullError(f"{len(self._waiting)} requests are queued", retry_after=retry_after)
            handle = JobHandle(job, expected_seconds, self.notify)
            self._waiting.append(handle)
            self._handles.add(handle)
            self.notify()
            return handle

    def first(self) -> JobHandle | None:
        """The job that has waited longest and has not ended; None when there is none."""
        with self.changed:
            self._drop_ended()
            return self._waiting[0] if self._waiting else None

    def pop(self) -> JobHandle | None:
        """Moves the job that has waited longest, and has not ended, to the running ones; None when there is none."""
        with self.changed:
            self._drop_ended()
            if not self._waiting:
                return None
            self._running.append(self._waiting.popleft())
            return self._running[-1]

    def finish(self, handle: JobHandle) -> None:
        """Removes a running job."""
        with self.changed:
            self._running.remove(handle)
            self.notify()

    def num_waiting(self) -> int:
        """Queued jobs."""
        with self.changed:
            self._drop_ended()
            return len(self._waiting)

    def num_running(self) -> int:
        """Jobs that were popped and not finished."""
        with self.changed:
            return len(self._running)

    def buffered_seconds(self) -> float:
        """Seconds of audio that readers have not taken, of running and of ended jobs."""
        with self.changed:
            return sum(handle.buffered_seconds for handle in self._handles)

    def backlog_seconds(self, remaining: Callable[[JobHandle], float] | None = None) -> float:
        """Seconds of audio still to be made for all jobs; `remaining` tells how much of a running one."""
        with self.changed:
            running = [handle for handle in self._running if not handle.ended]
            waiting = sum(handle.expected_seconds for handle in self._waiting if not handle.ended)
        remaining = remaining or (lambda handle: max(0.0, handle.expected_seconds - handle.report.audio_seconds))
        return waiting + sum(map(remaining, running))

    def close(self, grace: float = 0.0) -> None:
        """Refuses new jobs, lets the others finish for `grace` seconds and cancels the rest."""
        with self.changed:
            self.closed = True
            self.notify()
            self.changed.wait_for(self.is_empty, grace)
            rest = [*self._waiting, *self._running]
        for handle in rest:
            handle.cancel()

    def is_empty(self) -> bool:
        """Whether no job is queued or running."""
        with self.changed:
            self._drop_ended()
            return not self._waiting and not self._running

    def _drop_ended(self) -> None:
        self._waiting = deque(handle for handle in self._waiting if not handle.ended)
