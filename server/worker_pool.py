"""A few threads for work that would hold up every other request if each did its own: texts and recordings.

Python runs one thread at a time, so thirty threads that read long texts keep the engine's threads from running. And
each thread that decodes recordings keeps memory of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from server.errors import ApiError

Result = TypeVar("Result")
MAX_WAITING = 8
"""Of calls that may be refused: how many may wait for a thread."""
_SMOOTHING = 0.2


class WorkerPool:
    """`threads` threads that serve calls first in, first out. Thread-safe."""

    def __init__(self, name: str, threads: int) -> None:
        self._name, self._threads = name, threads
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._lock = threading.Lock()
        self._calls = 0
        self._mean_seconds = 0.0

    @property
    def waiting(self) -> int:
        """Calls that have no thread yet."""
        return max(0, self._calls - self._threads)

    def run(self, function: Callable[[], Result], *, max_waiting: int | None = None) -> Result:
        """What `function` returns or raises, called in one of the threads.

        ApiError 429 if `max_waiting` calls wait already.
        """
        with self._lock:
            waiting = self.waiting
            if max_waiting is not None and waiting >= max_waiting:
                message = f"too busy: {waiting} {self._name} are waiting to be prepared"
                raise ApiError(429, "busy", message, retry_after=waiting * self._mean_seconds / self._threads)
            self._calls += 1
        try:
            return self._executor.submit(self._timed, function).result()
        finally:
            with self._lock:
                self._calls -= 1

    def _timed(self, function: Callable[[], Result]) -> Result:
        start = time.monotonic()
        try:
            return function()
        finally:
            self._mean_seconds += _SMOOTHING * (time.monotonic() - start - self._mean_seconds)


@dataclass(frozen=True)
class Workers:
    """The pools of a node, by what they prepare.

    texts: those of speech requests, which are admitted already, so they are never refused. segments: those of
    /segments, which may not keep speech waiting. voices: reference recordings.
    """

    texts: WorkerPool
    segments: WorkerPool
    voices: WorkerPool


def make_workers(voice_threads: int) -> Workers:
    """The pools. Reading texts is Python alone: a second thread would only take the time of the first."""
    return Workers(WorkerPool("texts", 1), WorkerPool("segments", 1), WorkerPool("voices", voice_threads))
