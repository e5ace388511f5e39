#!/usr/bin/env python3
"""Exposes a server to badly behaved clients for a while and checks that it leaks nothing.

    scripts/soak.py --minutes 30
    scripts/soak.py --quick                 half a minute against the fake engine, as CI does

Requests come in bursts; some clients disconnect in the middle, some send invalid requests. At the end, and after a
pause, the server must be as it was after its warm-up: no request running or queued, no more threads, no more open
files, and at most 2 % more memory; and it must still serve. Prints its memory once a minute, then a table; the exit
status is 1 if something leaked. Linux only: it reads /proc.
"""

from __future__ import annotations

import argparse
import collections
import os
import random
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import requests

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # so that this file can be run directly

from scripts.processes import Processes, free_ports  # noqa: E402  # needs the path above

VOICES = ROOT / "checkpoints" / "nano" / "voices"
TEXTS = (
    "Please come in.",
    "请进来坐吧。",
    "The moon rose slowly above the sea, and nobody said a word.",
    "月亮慢慢地升起来。",
)
SETTLE_SECONDS = 10.0
"""After which an idle server has returned its free memory to the system."""
MAX_GROWTH, QUICK_MAX_GROWTH = 0.02, 0.3
"""Share by which memory may grow; in half a minute the allocator's arenas, one a thread, are still filling."""


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


def full_request(url: str, rng: random.Random) -> str:
    response = requests.post(f"{url}/tts", json={"text": rng.choice(TEXTS)}, timeout=120)
    return f"full {response.status_code}"


def stream(url: str, rng: random.Random) -> str:
    with requests.post(f"{url}/tts/stream", json={"text": rng.choice(TEXTS)}, stream=True, timeout=120) as response:
        for _ in response.iter_content(None):
            pass
    return f"stream {response.status_code}"


def disconnect(url: str, rng: random.Random) -> str:
    body = {"text": rng.choice(TEXTS) * 3}
    with requests.post(f"{url}/tts/stream", json=body, stream=True, timeout=120) as response:
        for count, _ in enumerate(response.iter_content(2048)):
            if count >= rng.randint(0, 6):
                break
    return "disconnected"


def time_out(url: str, rng: random.Random) -> str:
    """Gives up early, often while the request is still queued."""
    try:
        requests.post(f"{url}/tts", json={"text": rng.choice(TEXTS) * 5}, timeout=rng.uniform(0.05, 0.4))
    except requests.Timeout:
        return "timed out"
    return "answered before the timeout"


def bad_request(url: str, rng: random.Random) -> str:
    body = rng.choice(
        (b"{", b"[]", b'{"text": 5}', b'{"text": "\\u0000"}', b'{"text": "x", "speed": 9}', b"\xff" * 100)
    )
    response = requests.post(f"{url}/tts", data=body, headers={"Content-Type": "application/json"}, timeout=60)
    return f"bad request {response.status_code}"


def bad_audio(url: str, rng: random.Random) -> str:
    files = {"reference_audio": ("x.wav", rng.randbytes(rng.randint(0, 50000)))}
    response = requests.post(f"{url}/tts", data={"text": "Hello."}, files=files, timeout=60)
    return f"bad audio {response.status_code}"


CALLS: tuple[Callable[[str, random.Random], str], ...] = (
    full_request,
    stream,
    stream,
    disconnect,
    time_out,
    bad_request,
    bad_audio,
)


def random_call(url: str, seed: int, outcomes: collections.Counter[str]) -> None:
    """Makes one call, chosen by `seed`. A broken connection is counted, not raised."""
    rng = random.Random(seed)
    try:
        outcome = rng.choice(CALLS)(url, rng)
    except requests.RequestException as error:
        outcome = f"broken: {type(error).__name__}"
    outcomes[outcome] += 1


def soak(
    url: str, seconds: float, clients: int, *, min_burst: int = 1, on_burst: Callable[[int], None] = lambda _calls: None
) -> collections.Counter[str]:
    """Bursts of `min_burst` to `clients` concurrent calls, with pauses between them; how often each outcome occurred.

    `on_burst` is called after each burst with the number of calls so far.
    """
    outcomes: collections.Counter[str] = collections.Counter()
    rng, calls, end = random.Random(1), 0, time.monotonic() + seconds
    with ThreadPoolExecutor(clients) as executor:
        while time.monotonic() < end:
            burst = rng.randint(min_burst, clients)
            futures = [executor.submit(random_call, url, calls + i, outcomes) for i in range(burst)]
            calls += burst
            for future in futures:
                future.result()
            on_burst(calls)
            time.sleep(rng.uniform(0.0, 0.3))
    return outcomes


def wait_until_idle(url: str, timeout: float = 60.0) -> bool:
    """Waits until no request is running or queued; False if that takes longer than `timeout` seconds."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        series = requests.get(f"{url}/metrics", timeout=10).text.splitlines()
        busy = [
            line for line in series if line.startswith(("glmtts_in_flight", "glmtts_queued", "glmtts_kv_slots_used"))
        ]
        if all(float(line.rpartition(" ")[2]) == 0 for line in busy):
            return True
        time.sleep(0.2)
    return False


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


@dataclass(frozen=True)
class Outcome:
    """The server's resources after its warm-up and at the end, and the outcomes of all calls in between."""

    before: Footprint
    after: Footprint
    outcomes: collections.Counter[str]
    idle: bool
    serves: bool

    def checks(self, max_growth: float) -> dict[str, bool]:
        """Each check in words, and whether it holds; `max_growth` is the share by which memory may grow."""
        before, after = self.before, self.after
        return {
            "no request running or queued": self.idle,
            f"threads {before.threads} → {after.threads}": after.threads <= before.threads,
            f"open files {before.files} → {after.files}": after.files <= before.files,
            f"memory {before.mib:.0f} → {after.mib:.0f} MiB": after.mib <= before.mib * (1 + max_growth),
            "no status 500": not any(outcome.endswith(" 500") for outcome in self.outcomes),
            "still serves": self.serves,
        }


def run(url: str, worker: int, minutes: float, clients: int) -> Outcome:
    """Warms the server up, soaks it, and compares its resources."""
    # The warm-up fills the caches (the request history is short here), grows the allocator and starts all threads.
    soak(url, min(120.0, 20 * minutes), 2 * clients, min_burst=2 * clients)
    wait_until_idle(url)
    time.sleep(SETTLE_SECONDS)
    before = footprint(worker)
    outcomes = soak(url, 60 * minutes, clients, on_burst=MemoryLog(worker, min(60.0, 12 * minutes)))
    idle = wait_until_idle(url)
    time.sleep(SETTLE_SECONDS)
    after = footprint(worker)
    serves = requests.post(f"{url}/tts", json={"text": TEXTS[0]}, timeout=120).status_code == 200
    return Outcome(before, after, outcomes, idle, serves)


def start(processes: Processes, checkpoint: str) -> tuple[str, int]:
    """Starts a server; its URL, and the process id of its worker."""
    port = free_ports(1)[0]
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "app.py", "--port", str(port), *(["--checkpoint", checkpoint] if checkpoint else [])]
    settings = {"GLMTTS_CONSUL": "off", "GLMTTS_PROPAGATION_DELAY": "0", "GLMTTS_REQUEST_HISTORY_SIZE": "50"}
    processes.start("server", command, {"GLMTTS_VOICES_DIR": str(VOICES), **os.environ, **settings})
    processes.wait("server", f"{url}/ready", 300.0)
    return url, worker_of(processes.running["server"].pid)


def parse() -> argparse.Namespace:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--minutes", type=float, default=30.0)
    flags.add_argument("--clients", type=int, default=12, help="calls concurrently, at most (default: %(default)s)")
    flags.add_argument("--checkpoint", default="", help="as for app.py (default: checkpoints/nano)")
    flags.add_argument("--quick", action="store_true", help="half a minute on the fake engine")
    args = flags.parse_args()
    if args.quick:
        args.minutes, args.checkpoint = 0.5, "fake:delay=0.01"
    return args


def main() -> None:
    args = parse()
    with TemporaryDirectory() as logs:
        processes = Processes(ROOT, Path(logs))
        try:
            outcome = run(*start(processes, args.checkpoint), args.minutes, args.clients)
        finally:
            processes.stop("server")
    print("\n".join(f"{count:6}  {name}" for name, count in sorted(outcome.outcomes.items())))
    checks = outcome.checks(QUICK_MAX_GROWTH if args.quick else MAX_GROWTH)
    for check, passed in checks.items():
        print(f"{'ok' if passed else 'FAILED':>6}  {check}")
    sys.exit(0 if all(checks.values()) else 1)


if __name__ == "__main__":
    main()
