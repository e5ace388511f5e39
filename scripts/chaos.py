#!/usr/bin/env python3
"""A herd of three nodes under every fault that there is: nothing may be lost, said twice or broken off.

    scripts/chaos.py                                    all faults, on checkpoints/nano
    scripts/chaos.py --checkpoint fake:delay=0.04       the same rules, without a model's work
    scripts/chaos.py --only kill,stop                   some of them; --list names them
    scripts/chaos.py --quick                            a minute or two, as CI does

For each fault three server processes and a Consul of their own: a batch of many items and six listeners call them
all the time, the fault strikes a node that is speaking, and is mended. What is counted is seen from outside: the
batch's results, the samples that listeners had, the nodes' logs, discovery, and each request that leaves this program.
A table; exit status 1 if anything was lost, made twice or broken. To cut a node off needs root and iproute2; a fault
that cannot be tried is skipped, and said so.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "client")]  # run as a file, it does not see its own packages

from scripts.cluster import ClusterError, tool  # noqa: E402  # the line above comes first
from scripts.faults.catalogue import FAULTS, Fault, nothing  # noqa: E402
from scripts.faults.cluster import Herd, Node, herd  # noqa: E402
from scripts.faults.load import Callers, Heard, Work  # noqa: E402
from scripts.faults.observers import Discovery, Requests  # noqa: E402
from scripts.faults.report import Row, Times, judge, table  # noqa: E402
from scripts.processes import ProcessError  # noqa: E402

Compare = Callable[[Sequence[Heard], Mapping[int, Heard]], list[str]]
QUICK_PACE = {"GLMTTS_HEALTH_INTERVAL": "1", "GLMTTS_CONSUL_TTL": "3", "GLMTTS_PROPAGATION_DELAY": "2"}
QUICK_FAULTS = "none,kill,term,stop,forget,clock"
BEFORE = 0.05
"""Share of the batch that is done before a fault strikes."""
PATIENCE = 1800.0
"""Seconds until all callers must have got what they want."""
BACK = 240.0
"""Seconds until discovery must hand all nodes out again."""


@dataclass(frozen=True)
class Plan:
    """How much is asked for, and of what. `haste`: what the faults' durations are divided by.

    `cache`: seconds for which callers keep the list of nodes. `pace`: settings of nodes. `dev`: Consul is a hasty one.
    """

    checkpoint: str
    items: int
    jobs: int
    cache: float
    pace: Mapping[str, str]
    haste: float
    dev: bool


@dataclass(frozen=True)
class Seen:
    """What is watched from outside, and the ids of all nodes."""

    discovery: Discovery
    requests: Requests
    ids: frozenset[str]

    def whole(self) -> bool:
        """Whether discovery hands all nodes out now."""
        return self.discovery.now == self.ids


def main() -> None:
    flags = parser()
    asked = flags.parse_args()
    names = (asked.only or (QUICK_FAULTS if asked.quick else ",".join(fault.name for fault in FAULTS))).split(",")
    if unknown := set(names) - {fault.name for fault in FAULTS}:
        flags.error(f"no fault {', '.join(sorted(unknown))}: --list names them")
    if asked.list:
        print("\n".join(f"{fault.name:8} {described(fault, make_plan(asked))}" for fault in FAULTS))
        return
    for interruption in (signal.SIGINT, signal.SIGTERM):  # a shell starts what runs in its background deaf to SIGINT
        signal.signal(interruption, _interrupt)
    logging.basicConfig(level=logging.ERROR)  # what the client warns of is what is counted here
    status = run(asked, [fault for fault in FAULTS if fault.name in names or fault.name == "none"])
    sys.stdout.flush()
    os._exit(status)  # a usual exit waits for callers, who go on trying for a quarter of an hour


def run(asked: argparse.Namespace, chosen: list[Fault]) -> int:
    """Prints the table; gives the exit status."""
    with TemporaryDirectory(prefix="chaos-") as temporary:
        try:
            rows, skipped = run_all(chosen, make_plan(asked), asked.logs or Path(temporary), ears(asked.listen))
        except KeyboardInterrupt:
            return 130
        except (ClusterError, ProcessError, RuntimeError) as error:
            say(f"given up: {error}")
            return 1
    print(table(rows, skipped))
    for row in rows:
        for trouble in row.troubles:
            print(f"{row.fault}: {trouble}")
    return 0 if all(row.good for row in rows) else 1


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--checkpoint", default="", help="as of app.py; default: checkpoints/nano")
    flags.add_argument("--items", type=int, default=200, help="of the batch")
    flags.add_argument("--jobs", type=int, default=4, help="items at a time")
    flags.add_argument("--only", help="faults, by name, with commas between them")
    flags.add_argument("--list", action="store_true", help="name the faults")
    flags.add_argument("--logs", type=Path, help="folder to keep logs and results in; else they are removed")
    flags.add_argument("--listen", type=Path, metavar="FOLDER", help="let a recogniser, kept there, compare streams")
    flags.add_argument("--quick", action="store_true", help="the fake engine, fewer items, shorter faults and waits")
    return flags


def make_plan(asked: argparse.Namespace) -> Plan:
    """Quick or not; all that is not quick has the settings that nodes and callers have by default."""
    if asked.quick:
        return Plan("fake:delay=0.02", 60, asked.jobs, 1.0, QUICK_PACE, haste=5.0, dev=True)
    return Plan(asked.checkpoint, asked.items, asked.jobs, 10.0, {}, haste=1.0, dev=False)


def ears(work: Path | None) -> Compare:
    """Who listens to the streams: a recogniser, or nobody."""
    if work is None:
        return lambda stories, calm: []
    from scripts.faults.asr_compare import Ears  # its packages are those of an extra

    return Ears(work).compare


def run_all(faults: list[Fault], plan: Plan, folder: Path, listen: Compare) -> tuple[list[Row], dict[str, str]]:
    """Each fault in turn; the first is none, and says how every story sounds. Rows, and why others were skipped."""
    rows: list[Row] = []
    skipped: dict[str, str] = {}
    calm: dict[int, Heard] = {}
    binary, requests = tool("consul", "scripts/get_consul.sh"), Requests()
    for fault in faults:
        if why := fault.obstacle():
            skipped[described(fault, plan)] = why
            continue
        say(f"{fault.name}: {described(fault, plan)}")
        place = folder / fault.name
        with herd(ROOT, place, fault.layout, plan.checkpoint, binary, plan.pace, dev=plan.dev) as here:
            work, times = disturb(here, fault, plan, requests)
        if not calm:
            calm = {story.listener: story for story in work.heard if story.ended}
        exact = plan.checkpoint.startswith("fake:")
        rows.append(judge(described(fault, plan), work, times, here.logs(), calm, exact=exact))
        say(table(rows[-1:], {}).splitlines()[-1])
        for line in listen(work.heard, calm):
            print(f"{rows[-1].fault}: {line}", flush=True)
    return rows, skipped


def described(fault: Fault, plan: Plan) -> str:
    return fault.text.format(hold=f"{fault.hold / plan.haste:g} s")


def disturb(here: Herd, fault: Fault, plan: Plan, requests: Requests) -> tuple[Work, Times]:
    """Lets callers call, and the fault strike in the middle of it, until all are served."""
    discovery = Discovery(here.local, here.caller_token)
    seen = Seen(discovery, requests, frozenset(node.id for node in here.nodes))
    try:
        until(seen.whole, "all nodes to be handed out", BACK)
        fault.prepare(here, here.nodes[-1])
        callers = Callers(here.local.address, here.caller_token, here.folder,
                          items=plan.items, jobs=plan.jobs, cache=plan.cache)  # fmt: skip
        callers.start()
        until(lambda: callers.done >= BEFORE * plan.items or callers.batch_is_done, "the batch to begin", PATIENCE)
        node = victim(here, fault, callers)
        struck, ended = strike(here, fault, node, plan.haste)
        until(seen.whole, "all nodes to be back", BACK)
        callers.enough.set()
        return callers.work(PATIENCE), measure(fault, node, seen, struck, ended)
    finally:
        discovery.close()


def victim(here: Herd, fault: Fault, callers: Callers) -> Node:
    """A node that speaks to a listener at this moment."""
    able = here.nodes[-1:] if fault.third else here.nodes

    found: list[Node] = []

    def speaks() -> bool:
        found[:] = [node for node in able if callers.speaking(node.url)]
        return bool(found) or callers.batch_is_done

    until(speaks, "a node to speak", PATIENCE)
    if callers.batch_is_done:
        raise RuntimeError("the batch was over before the fault could strike: more items, please")
    return found[0]


def strike(here: Herd, fault: Fault, node: Node, haste: float) -> tuple[float, float]:
    """The fault from its beginning to its end; the time of both."""
    fault.strike(here, node)
    struck = time.monotonic()
    say(f"{fault.name}: struck {node.name}")
    time.sleep(fault.hold / haste)
    fault.mend(here, node)
    return struck, time.monotonic()


def measure(fault: Fault, node: Node, seen: Seen, struck: float, ended: float) -> Times:
    """What discovery and requests show: of the bad node while it was bad, then of all nodes."""
    out = last = None
    if fault.bad:
        out = seen.discovery.gone_since({node.id}, struck, ended)
        last = seen.requests.last(node.port, struck, ended) or struck
    mended = struck if fault.mend is nothing else ended
    back = seen.discovery.whole_since(seen.ids)
    return Times(
        out=None if out is None else out - struck,
        last=None if last is None else last - struck,
        # Never away, or back before it was mended: there is no such time.
        whole=None if back is None or back < mended else back - mended,
    )


def until(condition: Callable[[], bool], what: str, patience: float) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited {patience:g} s in vain for {what}")
        time.sleep(0.02)


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
