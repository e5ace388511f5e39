"""What a server holds: threads, open files, memory, requests. Linux only: it reads /proc."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import requests

SETTLE_SECONDS = 10.0
"""After which an idle server has returned its free memory to the system."""
IDLE_TIMEOUT = 60.0


@dataclass(frozen=True)
class Footprint:
    """Resources of a process: threads, open files, resident memory in MiB."""

    threads: int
    files: int
    mib: float


def footprint(pid: int) -> Footprint:
    """Reads them from /proc."""
    status = Path(f"/proc/{pid}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return Footprint(int(fields["Threads"]), files, int(fields["VmRSS"].split()[0]) / 1024)


def worker_of(pid: int) -> int:
    """The process id of gunicorn's only worker."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def wait_until_idle(url: str, timeout: float = IDLE_TIMEOUT) -> bool:
    """Waits until no request is running or queued; False if that takes longer than `timeout` seconds."""
    busy_series = ("glmtts_in_flight", "glmtts_queued", "glmtts_kv_slots_used", "glmtts_preparing_waiting")
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        series = requests.get(f"{url}/metrics", timeout=10).text.splitlines()
        if all(float(line.rpartition(" ")[2]) == 0 for line in series if line.startswith(busy_series)):
            return True
        time.sleep(0.2)
    return False


def at_rest(url: str, pid: int) -> tuple[Footprint, bool]:
    """The footprint of an idle server, and whether it became idle in time."""
    idle = wait_until_idle(url)
    time.sleep(SETTLE_SECONDS)
    return footprint(pid), idle


class MemoryLog:
    """Prints a process's memory, with the time and the number of requests, at most once in `interval_seconds`."""

    def __init__(self, pid: int, interval_seconds: float) -> None:
        self._pid, self._interval_seconds = pid, interval_seconds
        self._start = self._last = time.monotonic()

    def __call__(self, count: int) -> None:
        now = time.monotonic()
        if now - self._last >= self._interval_seconds:
            self._last = now
            print(f"{now - self._start:6.0f} s {count:6} requests {footprint(self._pid).mib:6.0f} MiB", flush=True)
