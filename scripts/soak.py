#!/usr/bin/env python3
"""A server under everything that callers do wrong, for a while: nothing may be left behind.

    scripts/soak.py --minutes 30
    scripts/soak.py --quick                 half a minute against the fake engine, as CI does

Listeners come in bursts; some hang up in the middle, some send what is no request. At the end, and after a pause, the
server must be as it was after its warm-up: nothing running or waiting, no more threads, no more open files, and memory
within 2 %; and it must still speak. A line a minute of the memory so far, then a table; exit status 1 if something
leaked. Linux only: it reads /proc.
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
sys.path.insert(0, str(ROOT))  # run as a file, it does not see its own package

from scripts.processes import Processes, free_ports  # noqa: E402  # the line above comes first

VOICES = ROOT / "checkpoints" / "nano" / "voices"
TEXTS = (
    "Please come in.",
    "请进来坐吧。",
    "The moon rose slowly above the sea, and nobody said a word.",
    "月亮慢慢地升起来。",
)
SETTLE = 10.0
"""Seconds after which a server that rests has given back what it freed."""
MEMORY_GROWTH, QUICK_GROWTH = 0.02, 0.3
"""Share by which memory may grow; in half a minute the allocator's arenas, one a thread, are still filling."""


@dataclass(frozen=True)
class Footprint:
    """What a process holds: threads, open files, resident MiB."""

    threads: int
    files: int
    mib: float


def footprint(pid: int) -> Footprint:
    """Of the process now."""
    status = Path(f"/proc/{pid}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return Footprint(int(fields["Threads"]), files, int(fields["VmRSS"].split()[0]) / 1024)


def worker_of(pid: int) -> int:
    """gunicorn's one worker."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def whole(url: str, dice: random.Random) -> str:
    answer = requests.post(f"{url}/tts", json={"text": dice.choice(TEXTS)}, timeout=120)
    return f"whole {answer.status_code}"


def stream(url: str, dice: random.Random) -> str:
    with requests.post(f"{url}/tts/stream", json={"text": dice.choice(TEXTS)}, stream=True, timeout=120) as answer:
        for _ in answer.iter_content(None):
            pass
    return f"stream {answer.status_code}"


def hang_up(url: str, dice: random.Random) -> str:
    with requests.post(f"{url}/tts/stream", json={"text": dice.choice(TEXTS) * 3}, stream=True, timeout=120) as answer:
        for count, _ in enumerate(answer.iter_content(2048)):
            if count >= dice.randint(0, 6):
                break
    return "hung up"


def give_up_in_line(url: str, dice: random.Random) -> str:
    try:
        requests.post(f"{url}/tts", json={"text": dice.choice(TEXTS) * 5}, timeout=dice.uniform(0.05, 0.4))
    except requests.Timeout:
        return "gave up"
    return "gave up too late"


def nonsense(url: str, dice: random.Random) -> str:
    body = dice.choice(
        (b"{", b"[]", b'{"text": 5}', b'{"text": "\\u0000"}', b'{"text": "x", "speed": 9}', b"\xff" * 100)
    )
    answer = requests.post(f"{url}/tts", data=body, headers={"Content-Type": "application/json"}, timeout=60)
    return f"nonsense {answer.status_code}"


def bad_audio(url: str, dice: random.Random) -> str:
    files = {"reference_audio": ("x.wav", dice.randbytes(dice.randint(0, 50000)))}
    answer = requests.post(f"{url}/tts", data={"text": "Hello."}, files=files, timeout=60)
    return f"bad audio {answer.status_code}"


ACTS: tuple[Callable[[str, random.Random], str], ...] = (
    whole,
    stream,
    stream,
    hang_up,
    give_up_in_line,
    nonsense,
    bad_audio,
)


def act(url: str, seed: int, seen: collections.Counter[str]) -> None:
    """One thing that a caller may do. A connection that breaks is counted, not raised."""
    dice = random.Random(seed)
    try:
        what = dice.choice(ACTS)(url, dice)
    except requests.RequestException as error:
        what = f"broken: {type(error).__name__}"
    seen[what] += 1


def soak(
    url: str, seconds: float, callers: int, *, least: int = 1, tell: Callable[[int], None] = lambda _requests: None
) -> collections.Counter[str]:
    """Bursts of `least` to `callers` at once, with pauses between them. `tell` hears after each how many there were."""
    seen: collections.Counter[str] = collections.Counter()
    dice, seed, end = random.Random(1), 0, time.monotonic() + seconds
    with ThreadPoolExecutor(callers) as crowd:
        while time.monotonic() < end:
            burst = dice.randint(least, callers)
            waiting = [crowd.submit(act, url, seed + i, seen) for i in range(burst)]
            seed += burst
            for one in waiting:
                one.result()
            tell(seed)
            time.sleep(dice.uniform(0.0, 0.3))
    return seen


def settled(url: str, patience: float = 60.0) -> bool:
    """Waits until nothing runs or waits; False when that does not come."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        series = requests.get(f"{url}/metrics", timeout=10).text.splitlines()
        busy = [
            line for line in series if line.startswith(("glmtts_in_flight", "glmtts_queued", "glmtts_kv_slots_used"))
        ]
        if all(float(line.rpartition(" ")[2]) == 0 for line in busy):
            return True
        time.sleep(0.2)
    return False


class Diary:
    """Prints a process's memory against time and requests, at most one line every `period` seconds."""

    def __init__(self, pid: int, period: float) -> None:
        self._pid, self._period = pid, period
        self._began = self._told = time.monotonic()

    def __call__(self, count: int) -> None:
        now = time.monotonic()
        if now - self._told >= self._period:
            self._told = now
            print(f"{now - self._began:6.0f} s {count:6} requests {footprint(self._pid).mib:6.0f} MiB", flush=True)


@dataclass(frozen=True)
class Outcome:
    """What the server held after its warm-up and what at the end, and how it answered in between."""

    before: Footprint
    after: Footprint
    seen: collections.Counter[str]
    quiet: bool
    speaks: bool

    def checks(self, growth: float) -> dict[str, bool]:
        """What must hold, in words; `growth` is the share by which memory may grow."""
        before, after = self.before, self.after
        return {
            "nothing runs or waits": self.quiet,
            f"threads {before.threads} → {after.threads}": after.threads <= before.threads,
            f"open files {before.files} → {after.files}": after.files <= before.files,
            f"memory {before.mib:.0f} → {after.mib:.0f} MiB": after.mib <= before.mib * (1 + growth),
            "no answer 500": not any(what.endswith(" 500") for what in self.seen),
            "it still speaks": self.speaks,
        }


def observe(url: str, worker: int, minutes: float, callers: int) -> Outcome:
    """Warms the server up, soaks it, and compares."""
    # Caches fill (few finished requests are remembered here), the allocator grows, all threads start.
    soak(url, min(120.0, 20 * minutes), 2 * callers, least=2 * callers)
    settled(url)
    time.sleep(SETTLE)
    before = footprint(worker)
    seen = soak(url, 60 * minutes, callers, tell=Diary(worker, min(60.0, 12 * minutes)))
    quiet = settled(url)
    time.sleep(SETTLE)
    after = footprint(worker)
    speaks = requests.post(f"{url}/tts", json={"text": TEXTS[0]}, timeout=120).status_code == 200
    return Outcome(before, after, seen, quiet, speaks)


def start(programs: Processes, checkpoint: str) -> tuple[str, int]:
    """A server of its own: its URL, and the process that does the work."""
    port = free_ports(1)[0]
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "app.py", "--port", str(port), *(["--checkpoint", checkpoint] if checkpoint else [])]
    settings = {"GLMTTS_CONSUL": "off", "GLMTTS_PROPAGATION_DELAY": "0", "GLMTTS_REQUEST_HISTORY_SIZE": "50"}
    programs.start("server", command, {"GLMTTS_VOICES_DIR": str(VOICES), **os.environ, **settings})
    programs.wait("server", f"{url}/ready", 300.0)
    return url, worker_of(programs.running["server"].pid)


def parse() -> argparse.Namespace:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--minutes", type=float, default=30.0)
    flags.add_argument("--callers", type=int, default=12, help="at most so many at once")
    flags.add_argument("--checkpoint", default="")
    flags.add_argument("--quick", action="store_true", help="half a minute, the fake engine")
    args = flags.parse_args()
    if args.quick:
        args.minutes, args.checkpoint = 0.5, "fake:delay=0.01"
    return args


def main() -> None:
    args = parse()
    with TemporaryDirectory() as logs:
        programs = Processes(ROOT, Path(logs))
        try:
            outcome = observe(*start(programs, args.checkpoint), args.minutes, args.callers)
        finally:
            programs.stop("server")
    print("\n".join(f"{count:6}  {what}" for what, count in sorted(outcome.seen.items())))
    checks = outcome.checks(QUICK_GROWTH if args.quick else MEMORY_GROWTH)
    for what, good in checks.items():
        print(f"{'ok' if good else 'LEAK':>6}  {what}")
    sys.exit(0 if all(checks.values()) else 1)


if __name__ == "__main__":
    main()
