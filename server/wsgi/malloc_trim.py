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

LOOK = 1.0
"""Seconds between looks whether anything is at work."""
REST = 5.0
"""Seconds without work after which memory is given back. Whoever speaks next maps the pages anew, which takes as long
as a step or two of the flow: not a thing for between two sentences."""
LONGEST = 60.0
"""Seconds after which it is given back though work never rests."""


class Tide:
    """When to give back: once in every rest, and now and then in long work. `look` is asked every LOOK seconds."""

    def __init__(self, now: float) -> None:
        self._last = self._busy = now
        self._worked = False

    def look(self, now: float, *, busy: bool) -> bool:
        """Whether it is time; `now` in seconds on a clock that only goes on."""
        if busy:
            self._busy, self._worked = now, True
        due = self._worked and (now - self._busy >= REST or now - self._last >= LONGEST)
        if due:
            self._last, self._worked = now, busy
        return due


def keep_small(busy: Callable[[], bool]) -> None:
    """Starts the thread that gives back; `busy` tells whether anything is at work."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        threading.Thread(target=_run, args=(busy, trim), name="heap", daemon=True).start()


def _run(busy: Callable[[], bool], trim: Callable[[int], int]) -> None:
    tide = Tide(time.monotonic())
    while True:
        time.sleep(LOOK)
        if tide.look(time.monotonic(), busy=busy()):
            began, before = time.monotonic(), _resident()
            trim(0)
            facts = {"mib": before - _resident(), "seconds": round(time.monotonic() - began, 4)}
            log.debug("Freed memory given back", extra={"facts": facts})


def _resident() -> int:
    """MiB of this process."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) // 1024
