"""Returns freed memory to the operating system with glibc's malloc_trim, from the one arena that all threads share.

glibc keeps freed memory between blocks that are still in use, and by default in an arena for almost every thread. After
bursts of large tensors that is 100 MiB and more, and it grows with each new shape. With another C library nothing is
done. MKL, with which PyTorch multiplies on a CPU, keeps the buffers of each thread's largest products as well.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger(__name__)

POLL_INTERVAL = 1.0
"""Seconds between two checks whether there is work."""
IDLE_SECONDS = 5.0
"""Seconds without work after which memory is returned. The next request has to map the pages again, which takes as long
as one or two steps of the flow: too long between two sentences."""
MAX_INTERVAL = 60.0
"""Seconds after which memory is returned during uninterrupted work."""
M_ARENA_MAX = -8
"""mallopt's name of the limit on arenas."""

GROWTH_MIB = 32
"""Growth of the process since the last trim that counts as work: bodies that are refused cost memory too."""


class TrimSchedule:
    """When to trim: once in each idle period after work, and every MAX_INTERVAL seconds of uninterrupted work."""

    def __init__(self, now: float) -> None:
        self._last_trim = self._last_busy = now
        self._has_worked = False

    def poll(self, now: float, *, busy: bool, grown: bool = False) -> bool:
        """Whether to trim now. Call it every POLL_INTERVAL; `now` is in seconds on a monotonic clock.

        `grown`: the process is larger by GROWTH_MIB than after the last trim.
        """
        self._has_worked = self._has_worked or grown
        if busy:
            self._last_busy, self._has_worked = now, True
        is_idle = now - max(self._last_busy, self._last_trim) >= IDLE_SECONDS
        is_due = self._has_worked and (is_idle or now - self._last_trim >= MAX_INTERVAL)
        if is_due:
            self._last_trim, self._has_worked = now, busy
        return is_due


def limit_arenas() -> None:
    """Has all threads share one arena, unless MALLOC_ARENA_MAX says otherwise; to be called before there are threads.

    malloc_trim leaves up to 64 MiB at the end of each other arena, and each thread that refused a large body has one.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and "MALLOC_ARENA_MAX" not in os.environ:
        mallopt(M_ARENA_MAX, 1)


def free_mkl_buffers() -> None:
    """Frees the buffers that MKL keeps for its next products; nothing if PyTorch is not loaded, or built without MKL.

    Buffers in use stay, so other threads may multiply meanwhile. The next product allocates its own again.
    """
    torch = sys.modules.get("torch")
    library = Path(torch.__file__ or "").parent / "lib" / "libtorch_cpu.so" if torch else None
    if library is not None and library.exists():
        # The wheels of PyTorch contain MKL and export its functions under these names.
        free = getattr(ctypes.CDLL(str(library)), "mkl_serv_free_buffers", None)
        if free is not None:
            free()


def start_trimming(busy: Callable[[], bool]) -> None:
    """Starts the thread that trims. `busy` returns whether there is work."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        threading.Thread(target=_run, args=(busy, trim), name="malloc_trim", daemon=True).start()


def _run(busy: Callable[[], bool], trim: Callable[[int], int]) -> None:
    schedule, smallest = TrimSchedule(time.monotonic()), _resident_mib()
    while True:
        time.sleep(POLL_INTERVAL)
        before, is_busy = _resident_mib(), busy()
        if schedule.poll(time.monotonic(), busy=is_busy, grown=before >= smallest + GROWTH_MIB):
            start = time.monotonic()
            if not is_busy:
                gc.collect()  # an error's traceback may hold a body of 20 MiB until Python looks for cycles
                free_mkl_buffers()
            trim(0)
            smallest = _resident_mib()
            fields = {"mib": before - smallest, "seconds": round(time.monotonic() - start, 4)}
            log.debug("Returned freed memory", extra={"fields": fields})


def _resident_mib() -> int:
    """Resident memory of this process in MiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) // 1024
