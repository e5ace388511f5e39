"""Gives memory that was freed back to the operating system.

glibc keeps it: between two pieces that are still in use, and in an arena for each thread or so. After bursts of large
tensors that is a hundred MiB and more, and it grows with every shape that a burst can have. Where the C library is
another one nothing is done. Knows nothing about who uses memory.
"""

from __future__ import annotations

import ctypes
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger(__name__)

POLL_INTERVAL = 1.0
"""Seconds between looks whether anything is at work."""
IDLE_SECONDS = 5.0
"""Seconds without work after which memory is given back. Whoever speaks next maps the pages anew, which takes as long
as a step or two of the flow: not a thing for between two sentences."""
MAX_INTERVAL = 60.0
"""Seconds after which it is given back though work never rests."""


class TrimSchedule:
    """When to trim: once in each idle period, and every MAX_INTERVAL seconds of uninterrupted work."""

    def __init__(self, now: float) -> None:
        self._last = self._busy = now
        self._worked = False

    def poll(self, now: float, *, busy: bool) -> bool:
        """Whether it is time; `now` in seconds on a clock that only goes on."""
        if busy:
            self._busy, self._worked = now, True
        due = self._worked and (now - self._busy >= IDLE_SECONDS or now - self._last >= MAX_INTERVAL)
        if due:
            self._last, self._worked = now, busy
        return due


def start_trimming(busy: Callable[[], bool]) -> None:
    """Starts the thread that gives back; `busy` tells whether anything is at work."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        threading.Thread(target=_run, args=(busy, trim), name="heap", daemon=True).start()


def _run(busy: Callable[[], bool], trim: Callable[[int], int]) -> None:
    schedule = TrimSchedule(time.monotonic())
    while True:
        time.sleep(POLL_INTERVAL)
        if schedule.poll(time.monotonic(), busy=busy()):
            began, before = time.monotonic(), _resident()
            trim(0)
            facts = {"mib": before - _resident(), "seconds": round(time.monotonic() - began, 4)}
            log.debug("Freed memory given back", extra={"fields": facts})


def _resident() -> int:
    """MiB of this process."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) // 1024
