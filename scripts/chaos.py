#!/usr/bin/env python3
"""Injects faults into a cluster of three nodes under load: nothing may be lost, duplicated or interrupted.

    scripts/chaos.py                                    all faults, on checkpoints/nano
    scripts/chaos.py --checkpoint fake:delay=0.04       all faults, on the fake engine
    scripts/chaos.py --only kill,stop                   some of them; --list names them
    scripts/chaos.py --quick                            one or two minutes, as in CI

Each fault gets three server processes and a Consul of its own. A batch of many items and six listeners call them
without a pause; the fault hits a node that is streaming to a listener, and is then reverted. The figures come from
outside: the batch's results, the listeners' samples, the nodes' logs, Consul, and the requests that leave this process.
Prints a table; the exit status is 1 if anything was lost, duplicated or broken, a listener heard nothing for longer
than --max-silence, or a dead node got requests for longer than --max-last-request. A network partition needs root and
iproute2; a fault that can't be injected is reported as skipped.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "client")]  # so that this file can be run directly

from scripts.cluster import ClusterError, tool  # noqa: E402  # needs the path above
from scripts.faults.catalogue import FAULTS, Fault, no_action  # noqa: E402
from scripts.faults.cluster import Node, TestCluster, running_cluster  # noqa: E402
from scripts.faults.load import STORIES, Load, LoadGenerator, LoadResult, StreamResult, undisturbed  # noqa: E402
from scripts.faults.observers import DiscoveryObserver, RequestObserver  # noqa: E402
from scripts.faults.plan import Plan, make_plan  # noqa: E402
from scripts.faults.report import DEFAULT_BOUNDS, Bounds, FaultReport, Times, make_report, table  # noqa: E402
from scripts.processes import ProcessError  # noqa: E402

Compare = Callable[[Sequence[StreamResult], Mapping[int, StreamResult]], list[str]]
QUICK_FAULTS = "none,kill,term,stop,wipe,gateway,clock"
INJECT_AFTER = 0.05
"""Share of the batch that is done before a fault is injected."""
LOAD_TIMEOUT = 1800.0
"""Seconds within which the batch must be done and every stream must have ended."""
REJOIN_TIMEOUT = 240.0
"""Seconds within which Consul must return all nodes."""


@dataclass(frozen=True)
class Observers:
    """The observers of a cluster."""

    cluster: TestCluster
    discovery: DiscoveryObserver
    requests: RequestObserver

    @property
    def ids(self) -> frozenset[str]:
        """The service ids of its nodes."""
        return frozenset(node.id for node in self.cluster.nodes)

    def all_passing(self) -> bool:
        """Whether Consul returns all nodes now, and lists no other."""
        return self.discovery.is_complete(self.ids)


def main() -> None:
    flags = parser()
    args = flags.parse_args()
    names = (args.only or (QUICK_FAULTS if args.quick else ",".join(fault.name for fault in FAULTS))).split(",")
    if unknown := set(names) - {fault.name for fault in FAULTS}:
        flags.error(f"--only: expected names from --list, got {', '.join(sorted(unknown))}")
    if args.list:
        print("\n".join(f"{fault.name:10} {describe(fault, make_plan(args))}" for fault in FAULTS))
        return
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell starts background jobs with SIGINT ignored
        signal.signal(number, _interrupt)
    logging.basicConfig(level=logging.ERROR)  # the client's warnings are what is counted here
    status = run(args, [fault for fault in FAULTS if fault.name in names or fault.name == "none"])
    sys.stdout.flush()
    os._exit(status)  # a normal exit would wait for the client's threads, which retry for a quarter of an hour


def run(args: argparse.Namespace, faults: list[Fault]) -> int:
    """Prints the table and returns the exit status."""
    with TemporaryDirectory(prefix="chaos-") as temporary:
        try:
            folder = args.logs or Path(temporary)
            rows, skipped = run_all(faults, make_plan(args), folder, stream_comparison(args.listen))
        except KeyboardInterrupt:
            return 130
        except (ClusterError, ProcessError, RuntimeError) as error:
            log(f"aborted: {error}")
            return 1
    print(table(rows, skipped))
    for row in rows:
        for problem in row.problems:
            print(f"{row.fault}: {problem}")
    return 0 if all(row.passed for row in rows) else 1


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--checkpoint", default="", help="as for app.py (default: checkpoints/nano)")
    flags.add_argument("--items", type=int, default=200, help="items in the batch (default: %(default)s)")
    flags.add_argument("--jobs", type=int, default=4, help="items at a time (default: %(default)s)")
    flags.add_argument("--listeners", type=int, choices=range(1, len(STORIES) + 1), default=len(STORIES),
                       help="streams at a time (default: %(default)s)")  # fmt: skip
    flags.add_argument("--only", help="names of faults, separated by commas")
    flags.add_argument("--list", action="store_true", help="list the faults and exit")
    flags.add_argument("--logs", type=Path, help="folder to keep logs and results in (default: they are deleted)")
    flags.add_argument(
        "--listen", type=Path, metavar="FOLDER", help="compare streams by speech recognition; the folder of its weights"
    )
    for name, default, what in (
        ("--max-silence", DEFAULT_BOUNDS.silence, "a listener may hear nothing"),
        ("--max-last-request", DEFAULT_BOUNDS.last_request, "a dead node may get requests"),
    ):
        flags.add_argument(
            name, type=float, default=default, metavar="SECONDS", help=f"how long {what} (default: %(default)s)"
        )
    flags.add_argument("--quick", action="store_true", help="the fake engine, fewer items, shorter faults and waits")
    return flags


def stream_comparison(work: Path | None) -> Compare:
    """Compares streams with a recogniser whose weights are in `work`; returns no lines if that is None."""
    if work is None:
        return lambda streams, baseline: []
    from scripts.faults.asr_compare import AsrComparison  # needs the extra eval

    return AsrComparison(work).compare


def run_all(
    faults: list[Fault], plan: Plan, folder: Path, compare: Compare
) -> tuple[list[FaultReport], dict[str, str]]:
    """Runs the faults in order; the first is "none" and gives the baseline of every stream.

    Returns the rows, and the reason for each fault that was skipped.
    """
    rows: list[FaultReport] = []
    skipped: dict[str, str] = {}
    baseline: dict[int, StreamResult] = {}
    consul, requests = tool("consul", "scripts/get_consul.sh"), RequestObserver()
    for fault in faults:
        if reason := fault.unavailable_reason(plan.checkpoint):
            skipped[describe(fault, plan)] = reason
            continue
        log(f"{fault.name}: {describe(fault, plan)}")
        with running_cluster(
            ROOT, folder / fault.name, fault.layout, plan.checkpoint, consul, plan.node_settings, dev=plan.dev
        ) as cluster:
            load, times = run_fault(cluster, fault, plan, requests)
        if not baseline:
            baseline = {stream.listener: stream for stream in load.streams if stream.complete}
        expected = undisturbed(load.streams) if cluster.gateway else baseline
        exact = plan.checkpoint.startswith("fake:")
        name = describe(fault, plan)
        bounds = replace(plan.bounds, last_request=math.inf) if fault.graceful else plan.bounds
        if cluster.gateway:  # its clients ask again from the beginning, and can't tell a silent node
            bounds = Bounds(math.inf, math.inf)
        rows.append(make_report(name, load, times, cluster.logs(), expected, exact=exact, bounds=bounds))
        log(table(rows[-1:], {}).splitlines()[-1])
        for line in compare(load.streams, expected):
            print(f"{rows[-1].fault}: {line}", flush=True)
    return rows, skipped


def describe(fault: Fault, plan: Plan) -> str:
    return fault.text.format(duration=f"{fault.duration / plan.speedup:g} s")


def run_fault(cluster: TestCluster, fault: Fault, plan: Plan, requests: RequestObserver) -> tuple[LoadResult, Times]:
    """Puts the cluster under load, injects the fault and recovers from it, and waits until the load is done."""
    discovery = DiscoveryObserver(cluster.agent, cluster.client_token)
    observers = Observers(cluster, discovery, requests)
    try:
        wait_until(observers.all_passing, "all nodes to be passing", REJOIN_TIMEOUT)
        fault.prepare(cluster, cluster.nodes[-1])
        load = make_load(cluster, plan)
        load.start()
        enough = INJECT_AFTER * plan.items
        wait_until(lambda: load.items_done >= enough or load.batch_is_done, "the batch to begin", LOAD_TIMEOUT)
        node = pick_target(cluster, fault, load)
        injected, recovered = inject(cluster, fault, node, plan.speedup)
        wait_until(observers.all_passing, "all nodes to be passing again", REJOIN_TIMEOUT)
        load.stop_streams.set()
        targets = [node, *fault.nodes_down(cluster, node)]
        return load.result(LOAD_TIMEOUT), measure(fault, targets, observers, injected, recovered)
    finally:
        discovery.close()


def make_load(cluster: TestCluster, plan: Plan) -> Load:
    if cluster.gateway:
        from scripts.faults.gateway_load import GatewayLoad  # needs the extra dev

        return GatewayLoad(cluster.gateway, cluster.folder, jobs=plan.jobs)
    return LoadGenerator(cluster.agent.address, cluster.client_token, cluster.folder,
                         items=plan.items, jobs=plan.jobs, cache=plan.cache, listeners=plan.listeners)  # fmt: skip


def pick_target(cluster: TestCluster, fault: Fault, load: Load) -> Node:
    """A node that is streaming to a listener right now."""
    candidates = cluster.nodes[-1:] if fault.targets_third else cluster.nodes
    streaming: list[Node] = []

    def is_streaming() -> bool:
        streaming[:] = [node for node in candidates if load.streams_from(node.url)]
        return bool(streaming) or load.batch_is_done

    wait_until(is_streaming, "a node to stream", LOAD_TIMEOUT)
    if load.batch_is_done:
        raise RuntimeError("the batch ended before the fault could be injected: use more --items")
    return streaming[0]


def inject(cluster: TestCluster, fault: Fault, node: Node, speedup: float) -> tuple[float, float]:
    """Injects the fault and recovers from it; the times of both."""
    fault.inject(cluster, node)
    injected = time.monotonic()
    log(f"{fault.name}: injected into {node.name}")
    time.sleep(fault.duration / speedup)
    fault.recover(cluster, node)
    return injected, time.monotonic()


def measure(fault: Fault, targets: Sequence[Node], observers: Observers, injected: float, recovered: float) -> Times:
    """What the observers saw of the nodes that were down, and then of all nodes.

    `targets`: the one that the fault was injected into, then those that were down.
    """
    target, *nodes = targets
    removed = last = None
    if target.id not in observers.ids:  # it was replaced
        removed = observers.discovery.first_missing({target.id}, injected, math.inf)
    if nodes:
        removed = observers.discovery.first_missing({node.id for node in nodes}, injected, recovered)
        requests = (observers.requests.last_request(node.port, injected, recovered) for node in nodes)
        last = max((when for when in requests if when is not None), default=injected)
    start = injected if fault.recover is no_action else recovered
    complete = observers.discovery.complete_since(observers.ids)
    return Times(
        removed=None if removed is None else removed - injected,
        last_request=None if last is None else last - injected,
        # None too if the nodes were never away, or back before recovery.
        restored=None if complete is None or complete < start else complete - start,
    )


def wait_until(condition: Callable[[], bool], what: str, timeout: float) -> None:
    """Polls. Raises RuntimeError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"timed out after {timeout:g} s waiting for {what}")
        time.sleep(0.02)


def log(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
