"""Every Python process that has this folder on its path has a wall clock that is off by as many seconds as a file says.

`time.monotonic` and all waiting stay as they are: so it is with a machine whose clock is set. (libfaketime would shift
any program's clock, but 0.9.10 breaks the absolute sleeps of Python 3.11.)
"""

from __future__ import annotations

import os
import time
from pathlib import Path

FILE = Path(os.environ["CHAOS_CLOCK"])
_time, _time_ns = time.time, time.time_ns


def _off() -> int:
    return int(FILE.read_text() or 0)


time.time = lambda: _time() + _off()
time.time_ns = lambda: _time_ns() + 10**9 * _off()
