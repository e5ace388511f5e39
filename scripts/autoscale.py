#!/usr/bin/env python3
"""Runs the published autoscaling rule on a cluster of this machine: nodes are started and stopped under load.

    scripts/autoscale.py              about eight minutes
    scripts/autoscale.py --quick      one minute, as in CI

The rule, with its queries, bounds and windows, is read from deploy/kubernetes/keda.yaml, and its queries are asked of a
Prometheus that finds the nodes as deploy/prometheus has it. Windows are shorter by --speedup. Nodes are of the fake
engine, which makes 2 s of audio per second; the load is half of the capacity of the first nodes, then twice of it, then
half again. Prints what the autoscaler did and what listeners noticed, beside what the model of
docs/capacity.md says of the same listeners; the exit status is 1 if anyone heard nothing, or if nodes were not added
and removed.
"""

from __future__ import annotations

import argparse
import logging
import math
import signal
import sys
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "client")]  # so that this file can be run directly

from scripts.autoscaling.controller import SYNC_SECONDS  # noqa: E402  # needs the path above
from scripts.autoscaling.fleet import Fleet  # noqa: E402
from scripts.autoscaling.run import Outcome, Profile, measure_pace, measured_pace, run_model, run_real  # noqa: E402
from scripts.autoscaling.scaled_object import KEDA, read_scaled_object  # noqa: E402
from scripts.cluster import ClusterError  # noqa: E402
from scripts.processes import ProcessError, Processes  # noqa: E402
from scripts.simulation.cluster import percentile  # noqa: E402

DELAY = 0.1
"""Seconds that a node needs for 0.2 s of audio."""
SPEEDUP, QUICK_SPEEDUP = 10.0, 100.0
PROFILE, QUICK_PROFILE = Profile(quiet=60.0, busy=150.0, after=240.0), Profile(quiet=4.0, busy=12.0, after=16.0)
SETTLE_SECONDS = 3.0
"""Until Prometheus has scraped the nodes a few times."""


def main() -> None:
    args = parser().parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    logging.basicConfig(level=logging.ERROR)
    with TemporaryDirectory(prefix="autoscale-") as temporary:
        folder = args.logs or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        processes = Processes(ROOT, folder)
        try:
            sys.exit(run(processes, args))
        except KeyboardInterrupt:
            sys.exit(130)
        except (ClusterError, ProcessError, RuntimeError, ValueError) as error:
            sys.exit(f"autoscale: {error}")
        finally:
            processes.kill()


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--rule", type=Path, default=KEDA, metavar="FILE", help="a ScaledObject (default: %(default)s)")
    flags.add_argument("--speedup", type=float, help=f"of the rule's windows (default: {SPEEDUP:g})")
    flags.add_argument("--logs", type=Path, help="folder to keep logs in (default: they are deleted)")
    flags.add_argument("--quick", action="store_true", help=f"a shorter load, and a speedup of {QUICK_SPEEDUP:g}")
    return flags


def run(processes: Processes, args: argparse.Namespace) -> int:
    """Runs the loop and the model, prints the tables and returns the exit status."""
    speedup = args.speedup or (QUICK_SPEEDUP if args.quick else SPEEDUP)
    profile = QUICK_PROFILE if args.quick else PROFILE
    scaled = read_scaled_object(args.rule, speedup=speedup)
    nodes = scaled.rules.min_nodes
    fleet = Fleet(processes, f"fake:delay={DELAY},max_queued=64", scaled.region)
    fleet.start(nodes, max(1.0, SYNC_SECONDS / speedup), speedup)
    time.sleep(SETTLE_SECONDS)
    pace = measure_pace(fleet, DELAY, nodes)
    utterances = profile.utterances(pace, nodes)
    real = run_real(fleet, scaled, utterances, profile.seconds, speedup)
    model = run_model(measured_pace(fleet, pace), scaled, utterances, real, speedup)
    print(report({"real": real, "model": model}, profile))
    print(*real.failures, sep="\n")
    return 0 if is_good(real, len(utterances), nodes) else 1


def is_good(real: Outcome, listeners: int, nodes: int) -> bool:
    """Whether all listeners heard something, nodes were added and removed, and those ended in order."""
    counts = [count for _, count in real.wanted]
    complete = len(real.waits) == listeners and not real.failures
    return complete and max(counts) > nodes and real.has_removed and not any(real.exits)


def report(outcomes: dict[str, Outcome], profile: Profile) -> str:
    """A row for each figure, a column for each outcome."""
    high, low = profile.quiet, profile.quiet + profile.busy
    rows: list[tuple[str, Callable[[Outcome], str]]] = [
        ("listeners, without audio", lambda each: f"{len(each.waits)}, {sum(wait is None for _, wait in each.waits)}"),
        ("first audio p95 before (s)", lambda each: _p95(each, 0.0, high)),
        ("… from the rise until nodes were enough (s)", lambda each: _p95(each, high, _enough(each, low))),
        ("… from then on (s)", lambda each: _p95(each, _enough(each, low), low)),
        ("… after the fall (s)", lambda each: _p95(each, low, math.inf)),
        ("first node asked for, after the rise (s)", lambda each: _seconds(_first_change(each.wanted, high) - high)),
        ("first node passing (s)", lambda each: _seconds(_first_change(each.passing, high) - high)),
        ("last node passing (s)", lambda each: _seconds(_enough(each, low) - high)),
        ("most nodes", lambda each: str(max(count for _, count in each.wanted))),
        ("first node removed, after the fall (s)", lambda each: _seconds(_first_change(each.wanted, low) - low)),
        ("nodes at the end", lambda each: str(each.wanted[-1][1])),
        ("changes of direction", lambda each: str(each.turns)),
        ("numbers of nodes", lambda each: ", ".join(f"{count} at {when:.0f} s" for when, count in each.wanted)),
    ]
    lines = [["", *outcomes], ["---"] * (1 + len(outcomes))]
    lines += [[name, *map(show, outcomes.values())] for name, show in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _p95(outcome: Outcome, start: float, end: float) -> str:
    waits = [math.inf if wait is None else wait for when, wait in outcome.waits if start <= when < end]
    return f"{percentile(waits, 0.95):.2f}" if waits else "–"


def _enough(outcome: Outcome, until: float) -> float:
    """When the last node before `until` passed; `until` if none did."""
    changes = pairwise(outcome.passing)
    return max((when for (_, before), (when, after) in changes if after > before and when < until), default=until)


def _first_change(numbers: Sequence[tuple[float, int]], since: float) -> float:
    return min((when for when, _ in numbers[1:] if when >= since), default=math.nan)


def _seconds(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.1f}"


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
