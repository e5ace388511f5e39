#!/usr/bin/env python3
"""Models a cluster, and Consul under it: the tables of docs/capacity.md.

    scripts/simulate.py choice                   which choice of a node keeps the first audio early
    scripts/simulate.py stale                    what the age of the list of nodes costs
    scripts/simulate.py zone                     what the loss of a zone does
    scripts/simulate.py backlog                  the backlog by load: what autoscalers go by
    scripts/simulate.py scaling                  how fast scaling must be
    scripts/simulate.py consul                   what Consul bears in calm times
    scripts/simulate.py storm                    what it bears when 1,000 nodes return at once
    scripts/simulate.py plot --to docs           the pictures; needs matplotlib
    scripts/simulate.py check                    the model against three real nodes, in some minutes

`--pace` is how fast a node is: `cpu` or `gpu` as measured in docs/performance.md, or your own figures from
`scripts/bench.py`: `--pace 1:7.3,4:13.3,16:15.4` (listeners:seconds of audio per second), with `--first-audio` and
`--overhead`. The exit status of `check` is 1 if the first audio's p50 or p95 differs by more than 20 %.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "client")]  # so that this file can be run directly

from scripts.cluster import tool  # noqa: E402  # needs the path above
from scripts.simulation import experiments  # noqa: E402
from scripts.simulation.check import Comparison, compare  # noqa: E402
from scripts.simulation.node import Pace  # noqa: E402
from scripts.simulation.paces import PACES  # noqa: E402

QUESTIONS = ("choice", "stale", "zone", "backlog", "scaling", "consul", "storm", "plot", "check")
TOLERANCE = 0.2
MAX_SLOTS = 16
"""The server's default of max_num_seqs."""


def main() -> None:
    flags = parser()
    args = flags.parse_args()
    try:
        pace = make_pace(args)
    except ValueError as error:
        flags.error(f"--pace: expected cpu, gpu or listeners:rate,…, got {args.pace!r} ({error})")
    if args.what == "check":
        sys.exit(run_check(args))
    if args.what == "plot":
        from scripts.simulation import plots  # needs matplotlib, the extra bench

        plots.write_all(pace, args.to)
        return
    tables = {
        "choice": lambda: experiments.choice_table(pace, nodes=args.nodes, seconds=args.seconds),
        "stale": lambda: experiments.staleness_table(pace, nodes=args.nodes, seconds=args.seconds),
        "zone": lambda: experiments.zone_table(pace, nodes=args.nodes),
        "backlog": lambda: experiments.backlog_table(list(PACES.values()), nodes=args.nodes, seconds=args.seconds),
        "scaling": lambda: experiments.scaling_table(pace, target=args.target, nodes=args.nodes),
        "consul": experiments.consul_table,
        "storm": experiments.storm_table,
    }
    print(experiments.markdown(tables[args.what]()))


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument(
        "what", choices=("choice", "stale", "zone", "backlog", "scaling", "consul", "storm", "plot", "check")
    )
    flags.add_argument("--pace", default="gpu", help="cpu, gpu, or listeners:rate,… (default: %(default)s)")
    flags.add_argument("--first-audio", type=float, default=1.5, help="work before it, in s of audio (own paces)")
    flags.add_argument("--overhead", type=float, default=0.03, help="s before that (own paces)")
    flags.add_argument("--nodes", type=int, default=20, help="(default: %(default)s)")
    flags.add_argument("--seconds", type=float, default=60.0, help="simulated (default: %(default)s)")
    flags.add_argument("--target", type=float, default=20.0, help="of scaling, in s of backlog (default: %(default)s)")
    flags.add_argument("--to", type=Path, default=ROOT / "docs", help="folder of the pictures")
    flags.add_argument("--loads", default="0.4,0.6,0.8", help="of the check (default: %(default)s)")
    flags.add_argument("--check-seconds", type=float, default=200.0, help="for each load (default: %(default)s)")
    return flags


def make_pace(args: argparse.Namespace) -> Pace:
    """ValueError: malformed."""
    if args.pace in PACES:
        return PACES[args.pace]
    pairs = (item.split(":") for item in args.pace.split(","))
    rates = {int(count): float(rate) for count, rate in pairs}
    if min(rates) < 1 or min(rates.values()) <= 0:
        raise ValueError("a number of listeners and a rate above 0")
    pace = Pace("own", rates, args.first_audio, args.overhead, MAX_SLOTS)
    return Pace("own", rates, args.first_audio, args.overhead, pace.streams)


def run_check(args: argparse.Namespace) -> int:
    """Prints a table and returns the exit status."""
    rows: experiments.Table = [("load", "utterances", "p50 real", "model", "p95 real", "model")]
    passed = True
    for load in map(float, args.loads.split(",")):
        with TemporaryDirectory(prefix="simulate-") as folder:
            consul = tool("consul", "scripts/get_consul.sh")
            result = compare(
                ROOT, Path(folder) / "run", consul, delay=0.2, utilisation=load, seconds=args.check_seconds
            )
        rows.append((f"{load:.0%}", str(result.utterances), *_cells(result, 0.5), *_cells(result, 0.95)))
        print(experiments.markdown([rows[0], rows[-1]]).splitlines()[-1], file=sys.stderr, flush=True)
        passed = passed and all(abs(result.error(share)) <= TOLERANCE for share in result.real)
    print(experiments.markdown(rows))
    return 0 if passed else 1


def _cells(result: Comparison, share: float) -> tuple[str, str]:
    return f"{result.real[share]:.2f}", f"{result.model[share]:.2f} ({result.error(share):+.0%})"


if __name__ == "__main__":
    main()
