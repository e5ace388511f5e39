"""Shifts the wall clock of every Python process with this folder on its path, by the seconds in the file CHAOS_CLOCK.

`time.monotonic` and every wait are unchanged, as on a machine whose clock is set. libfaketime would shift any program's
clock, but its version 0.9.10 breaks the absolute sleeps of Python 3.11.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

FILE = Path(os.environ["CHAOS_CLOCK"])
_time, _time_ns = time.time, time.time_ns


def _shift_seconds() -> int:
    return int(FILE.read_text() or 0)


time.time = lambda: _time() + _shift_seconds()
time.time_ns = lambda: _time_ns() + 10**9 * _shift_seconds()
