#!/usr/bin/env python3
"""Exposes a node to badly behaved clients and a changing cluster for a while, and checks that it leaks nothing.

    scripts/soak.py --hours 2
    scripts/soak.py --quick                              a minute or two against the fake engine, as CI does
    scripts/soak.py --series recordings --count 1000     memory alone; also lengths, texts

Cycles: bursts of words, sentences, paragraphs, clones and stored voices, among them clients that disconnect, give up or
send what is invalid; in each cycle the shared configuration changes, or the node's Consul agent restarts with no data.
At the end, and after a pause, the node must be as it was after its warm-up: no request running or queued, no more
threads, no more open files, at most 3 % more memory, no more errors; it must still serve, and be discovered. Prints its
memory once a cycle, then a table; the exit status is 1 if something leaked. Linux only: it reads /proc.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import requests

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # so that this file can be run directly

from scripts.cluster import tool  # noqa: E402  # needs the path above
from scripts.endurance.calls import TEXTS, Outcomes, bursts, merged  # noqa: E402
from scripts.endurance.events import Events  # noqa: E402
from scripts.endurance.footprint import Footprint, MemoryLog, at_rest, worker_of  # noqa: E402
from scripts.endurance.series import SERIES, run_series  # noqa: E402
from scripts.faults.agents import Agents  # noqa: E402
from scripts.processes import Processes, free_ports  # noqa: E402

VOICES = ROOT / "checkpoints" / "nano" / "voices"
MAX_GROWTH, QUICK_MAX_GROWTH = 0.03, 0.3
"""Share by which memory may grow; in a minute the allocator's arenas, one a thread, are still filling."""
MAX_MORE_ERRORS = 0.01
CYCLE_SECONDS, QUICK_CYCLE_SECONDS = 120.0, 15.0
WARM_UP_CYCLES, QUICK_CYCLES = 2, 4
SETTINGS = {
    "GLMTTS_CONSUL": "on",
    "GLMTTS_LOOPBACK_CLUSTER": "on",
    "GLMTTS_HEALTH_INTERVAL": "2",
    "GLMTTS_CONSUL_TTL": "6",
    "GLMTTS_PROPAGATION_DELAY": "0",
    "GLMTTS_REQUEST_HISTORY_SIZE": "50",
}


@dataclass(frozen=True)
class Outcome:
    """The node after its warm-up and at the end, and what became of all calls in between, cycle by cycle."""

    before: Footprint
    after: Footprint
    cycles: list[Outcomes]
    events: Events
    idle: bool
    serves: bool
    discovered: bool

    @property
    def outcomes(self) -> Outcomes:
        """Those of all cycles."""
        return merged(self.cycles)

    def error_rates(self) -> tuple[float, float]:
        """The share of failed calls in the first and in the last quarter of the cycles."""
        quarter = max(1, len(self.cycles) // 4)
        return merged(self.cycles[:quarter]).error_rate, merged(self.cycles[-quarter:]).error_rate

    def checks(self, max_growth: float) -> dict[str, bool]:
        """Each check in words, and whether it holds; `max_growth` is the share by which memory may grow."""
        before, after = self.before, self.after
        first, last = self.error_rates()
        return {
            "no request running or queued": self.idle,
            f"threads {before.threads} → {after.threads}": after.threads <= before.threads,
            f"open files {before.files} → {after.files}": after.files <= before.files,
            f"memory {before.mib:.0f} → {after.mib:.0f} MiB": after.mib <= before.mib * (1 + max_growth),
            f"errors {first:.2%} → {last:.2%}": last <= first + MAX_MORE_ERRORS,
            "no status 500": not any(outcome.endswith(" 500") for outcome in self.outcomes),
            f"events followed, the slowest after {_seconds(self.events.slowest())}": not self.events.failures,
            "discovered": self.discovered,
            "still serves": self.serves,
        }


def _seconds(by_event: dict[str, float]) -> str:
    return ", ".join(f"{seconds:.1f} s ({event})" for event, seconds in by_event.items()) or "0 s"


def run(events: Events, worker: int, cycles: int, cycle_seconds: float, clients: int) -> Outcome:
    """Warms the node up, soaks it, and compares its resources."""
    url = events.url
    # The warm-up fills the caches (the request history is short here), grows the allocator and starts all threads.
    bursts(url, WARM_UP_CYCLES * cycle_seconds, 2 * clients, min_burst=2 * clients, seed=0)
    before, _ = at_rest(url, worker)
    memory_log = MemoryLog(worker, cycle_seconds)
    done = []
    with ThreadPoolExecutor(1) as executor:
        for number in range(1, cycles + 1):
            calls = executor.submit(bursts, url, cycle_seconds, clients, seed=number, on_burst=memory_log)
            events.next()  # in this thread: the agent is told to end with the thread that started it
            done.append(calls.result())
    after, idle = at_rest(url, worker)
    serves = requests.post(f"{url}/tts", json={"text": TEXTS[0]}, timeout=120).status_code == 200
    return Outcome(before, after, done, events, idle, serves, events.is_discovered())


def start(processes: Processes, checkpoint: str, voices: Path) -> tuple[Events, int]:
    """Starts an agent and a node with a copy of nano's voices; also returns the process id of the node's worker."""
    shutil.copytree(VOICES, voices)
    agent = Agents(processes, tool("consul", "scripts/get_consul.sh"), dev=True).single()
    port = free_ports(1)[0]
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "app.py", "--port", str(port), *(["--checkpoint", checkpoint] if checkpoint else [])]
    settings = {**SETTINGS, "CONSUL_HTTP_ADDR": agent.address, "GLMTTS_VOICES_DIR": str(voices)}
    processes.start("server", command, {**os.environ, **settings})
    processes.wait("server", f"{url}/ready", 300.0)
    return Events(agent, url), worker_of(processes.running["server"].pid)


def parse() -> argparse.Namespace:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--hours", type=float, default=2.0)
    flags.add_argument("--clients", type=int, default=12, help="calls concurrently, at most (default: %(default)s)")
    flags.add_argument("--checkpoint", default="", help="as for app.py (default: checkpoints/nano)")
    flags.add_argument("--quick", action="store_true", help="short cycles on the fake engine")
    flags.add_argument("--series", choices=SERIES, help="one client, whose requests differ in this alone")
    flags.add_argument("--count", type=int, default=1000, help="requests of the series (default: %(default)s)")
    args = flags.parse_args()
    if args.quick:
        args.checkpoint = "fake:delay=0.01"
    return args


def check(args: argparse.Namespace, events: Events, worker: int) -> dict[str, bool]:
    """Runs what the flags say and prints what became of the calls; the checks in words, and whether they hold."""
    if args.series:
        return run_series(args.series, args.count, events.url, worker).checks()
    seconds = QUICK_CYCLE_SECONDS if args.quick else CYCLE_SECONDS
    cycles = QUICK_CYCLES if args.quick else max(1, round(3600 * args.hours / seconds))
    outcome = run(events, worker, cycles, seconds, args.clients)
    print("\n".join(f"{count:6}  {name}" for name, count in sorted(outcome.outcomes.items())))
    return outcome.checks(QUICK_MAX_GROWTH if args.quick else MAX_GROWTH)


def main() -> None:
    args = parse()
    start_time = time.monotonic()
    with TemporaryDirectory() as folder:
        processes = Processes(ROOT, Path(folder))
        try:
            checks = check(args, *start(processes, args.checkpoint, Path(folder) / "voices"))
        finally:
            processes.stop("server")
    print(f"after {(time.monotonic() - start_time) / 60:.0f} minutes:")
    for name, passed in checks.items():
        print(f"{'ok' if passed else 'FAILED':>6}  {name}")
    sys.exit(0 if all(checks.values()) else 1)


if __name__ == "__main__":
    main()
