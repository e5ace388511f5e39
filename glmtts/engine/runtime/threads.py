"""The threads of an engine: each makes steps while there is work, and sleeps when there is none.

Knows nothing about what a step is.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from glmtts.engine.scheduling.job_queue import Line
from glmtts.engine.stats import ProgressClock

log = logging.getLogger(__name__)

POLL = 0.05
"""Seconds between looks while jobs run that wait for nothing but time: for a reader, or for their turn to speak."""


@dataclass(frozen=True)
class Loop:
    """step: does what there is to do, False when that is nothing. cores: of a CPU, for the step's arithmetic.
    own_stream: whether it shall have a CUDA stream of its own."""

    name: str
    step: Callable[[], bool]
    cores: int
    own_stream: bool = False


class Loops:
    """Runs from the start until the line is closed and empty. `failed` is told of an exception that a step raised,
    `waits` tells whether there is work that could be done."""

    def __init__(
        self,
        line: Line,
        device: torch.device,
        failed: Callable[[Exception], None],
        waits: Callable[[], bool],
        *loops: Loop,
    ) -> None:
        self._line, self._device, self._failed, self._waits = line, device, failed, waits
        self._work = ProgressClock()
        """Of all threads together: it beats at each step in which something was done, and rests when nothing waits."""
        self._pulses = [ProgressClock() for _ in loops]
        self._threads = [
            threading.Thread(target=self._run, args=pair, name=pair[0].name, daemon=True)
            for pair in zip(loops, self._pulses, strict=True)
        ]
        for thread in self._threads:
            thread.start()

    def age(self) -> float:
        """Seconds since the thread that has been at a step for longest began it, or since something was last done
        where work waits; 0.0 when all rest and nothing waits."""
        return max(pulse.stalled_seconds() for pulse in (self._work, *self._pulses))

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _run(self, loop: Loop, pulse: ProgressClock) -> None:
        torch.set_num_threads(loop.cores)  # for this thread
        with _stream(self._device, loop.own_stream):
            while not (self._line.closed and self._line.empty()):
                seen = self._line.version
                pulse.tick()
                try:
                    busy = loop.step()
                except Exception as error:  # a fault of ours that no job is to blame for
                    log.exception("A step of the engine failed")
                    self._failed(error)
                    busy = True
                if busy:
                    self._work.tick()
                else:
                    pulse.idle()
                    self._work.resume() if self._waits() else self._work.idle()
                    self._line.sleep(seen, POLL if self._line.running() else None)
        pulse.idle()
        self._work.idle()


def _stream(device: torch.device, own: bool) -> AbstractContextManager[object]:
    if not own or device.type != "cuda":
        return nullcontext()
    stream: AbstractContextManager[object] = torch.cuda.stream(torch.cuda.Stream(device))  # type: ignore[no-untyped-call]
    return stream
