"""An engine's worker threads: each makes steps while there is work, and sleeps while there is none."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from glmtts.engine.scheduling.job_queue import JobQueue
from glmtts.engine.stats import ProgressClock, pace_seconds

log = logging.getLogger(__name__)

POLL_SECONDS = 0.05
"""Sleep between checks while jobs run that wait for time alone: for their reader, or until they may start."""


@dataclass(frozen=True)
class WorkerSpec:
    """One worker thread."""

    name: str
    step: Callable[[], bool]
    """Does what there is to do; False if that is nothing."""
    num_threads: int
    """CPU threads for the arithmetic of a step."""
    own_stream: bool = False
    """Whether it has a CUDA stream of its own."""


class WorkerThreads:
    """Runs the workers until the queue is closed and empty.

    Args:
        on_error: called with an exception that a step raised, which no single job is to blame for.
        has_work: whether any job could make progress now.
    """

    def __init__(
        self,
        queue: JobQueue,
        device: torch.device,
        on_error: Callable[[Exception], None],
        has_work: Callable[[], bool],
        *workers: WorkerSpec,
    ) -> None:
        self._queue, self._device, self._on_error, self._has_work = queue, device, on_error, has_work
        self._progress = ProgressClock()
        """Ticks with every step of any worker in which something was done; stops when there is no work."""
        self._steps = [ProgressClock() for _ in workers]
        """One per worker; ticks when a step begins."""
        self._threads = [
            threading.Thread(target=self._run, args=pair, name=pair[0].name, daemon=True)
            for pair in zip(workers, self._steps, strict=True)
        ]
        for thread in self._threads:
            thread.start()

    def stalled_seconds(self) -> float:
        """How long the longest step under way has run, or how long work has waited without any step; 0.0 when idle."""
        return max(clock.stalled_seconds() for clock in (self._progress, *self._steps))

    def pace_seconds(self) -> float | None:
        return pace_seconds(self._steps)

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _run(self, worker: WorkerSpec, clock: ProgressClock) -> None:
        torch.set_num_threads(worker.num_threads)  # of this thread only
        with _cuda_stream(self._device, worker.own_stream):
            while not (self._queue.closed and self._queue.is_empty()):
                version = self._queue.version
                clock.tick()
                if self._step(worker):
                    self._progress.tick()
                else:
                    clock.idle()
                    self._progress.resume() if self._has_work() else self._progress.idle()
                    self._queue.sleep(version, POLL_SECONDS if self._queue.num_running() else None)
        clock.idle()
        self._progress.idle()

    def _step(self, worker: WorkerSpec) -> bool:
        try:
            return worker.step()
        except Exception as error:
            log.exception("A step of the engine failed")
            self._on_error(error)
            return True


def _cuda_stream(device: torch.device, own: bool) -> AbstractContextManager[object]:
    if not own or device.type != "cuda":
        return nullcontext()
    stream: AbstractContextManager[object] = torch.cuda.stream(torch.cuda.Stream(device))  # type: ignore[no-untyped-call]
    return stream
