#!/usr/bin/env python3
"""Upgrades a cluster of three nodes, one after the other, under load: nothing may be lost.

    scripts/rolling_upgrade.py --from REVISION              from a git revision to this tree, on checkpoints/nano
    scripts/rolling_upgrade.py --from REVISION --quick      the same within a minute, on the fake engine
    scripts/rolling_upgrade.py --from . --to REVISION       the way back
    scripts/rolling_upgrade.py --to-checkpoint DIR          also to another model, with a client that stays on the first

--from and --to name a revision, a wheel that contains app.py, or a folder. The load comes from two clients, one of each
release: a batch, listeners of long texts, and texts that are being written (WebSocket). Each node is sent SIGTERM and
replaced at its address; meanwhile nodes of both releases exchange stored voices, continuation tokens and the shared
configuration. Prints a table; the exit status is 1 if anything was lost or not understood.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "client")]  # so that this file can be run directly

from glmtts_client import ClientError  # noqa: E402  # needs the path above
from glmtts_client.batch.items import Item, read_items  # noqa: E402
from glmtts_client.batch.output_folder import RESULTS_FILE, OutputFolder  # noqa: E402

from scripts.cluster import ClusterError, tool  # noqa: E402
from scripts.faults.agents import LOOPBACK, Agents  # noqa: E402
from scripts.faults.cluster import VOICES, Node, TestCluster  # noqa: E402
from scripts.faults.observers import DiscoveryObserver  # noqa: E402
from scripts.processes import ProcessError, Processes, free_ports  # noqa: E402
from scripts.upgrade import checks  # noqa: E402
from scripts.upgrade.client_load import RESULT_TIMEOUT, Summary  # noqa: E402
from scripts.upgrade.program import export  # noqa: E402
from scripts.upgrade.report import Replacement, clients_table, nodes_table  # noqa: E402

RECORDING = ROOT / VOICES / "hibari" / "neutral.flac"
QUICK_CHECKPOINT = "fake:delay=0.02,max_queued=32"
QUICK_SETTINGS = {"GLMTTS_HEALTH_INTERVAL": "1", "GLMTTS_CONSUL_TTL": "3", "GLMTTS_PROPAGATION_DELAY": "3"}
CACHE_SECONDS, QUICK_CACHE_SECONDS = 10.0, 1.0
"""How long a client keeps the list of nodes: shorter than the propagation delay, or it takes new nodes for old."""
SETTLE_SECONDS = 10.0
"""For which the load runs before the first node leaves, and after the last one is back; a tenth in quick mode."""
PASSING_TIMEOUT = 240.0
DRAIN_TIMEOUT = 180.0


@dataclass(frozen=True)
class Programs:
    """The folders of two releases and their checkpoints ("": the one in the folder)."""

    old: Path
    new: Path
    checkpoint: str
    new_checkpoint: str


def main() -> None:
    args = parser().parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    with TemporaryDirectory(prefix="upgrade-") as temporary:
        folder = args.logs or Path(temporary)
        try:
            checkpoint = args.checkpoint or (QUICK_CHECKPOINT if args.quick else "")
            old, new = export(args.old, folder / "old", ROOT), export(args.new, folder / "new", ROOT)
            programs = Programs(old, new, checkpoint, args.to_checkpoint or checkpoint)
            sys.exit(run(programs, folder, quick=args.quick))
        except KeyboardInterrupt:
            sys.exit(130)
        except (ClusterError, ProcessError, RuntimeError, ValueError) as error:
            sys.exit(f"rolling upgrade: {error}")


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--from", dest="old", default=".", metavar="SOURCE", help="release before (default: this tree)")
    flags.add_argument("--to", dest="new", default=".", metavar="SOURCE", help="release after (default: this tree)")
    flags.add_argument("--checkpoint", default="", help="as for app.py (default: checkpoints/nano of each release)")
    flags.add_argument("--to-checkpoint", help="that of the release after (default: the same)")
    flags.add_argument("--logs", type=Path, help="folder to keep logs and results in (default: they are deleted)")
    flags.add_argument("--quick", action="store_true", help="the fake engine and short delays")
    return flags


def run(programs: Programs, folder: Path, *, quick: bool) -> int:
    """Upgrades, prints the tables and returns the exit status."""
    with running_nodes(programs, folder, quick=quick) as (cluster, discovery):
        upgrade = Upgrade(cluster, discovery, programs, quick)
        checks.write_documents(cluster.agent)
        upgrade.problems += checks.problems_of_documents(cluster.nodes)
        upgrade.run()
    print(nodes_table(upgrade.replacements), clients_table(upgrade.summaries), sep="\n\n")
    if upgrade.problems:
        print("", *upgrade.problems, sep="\n")
    return 1 if upgrade.problems else 0


@dataclass
class Upgrade:
    """The upgrade of a running cluster, and what comes of it."""

    cluster: TestCluster
    discovery: DiscoveryObserver
    programs: Programs
    quick: bool
    replacements: list[Replacement] = field(default_factory=list)
    summaries: dict[str, Summary] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def run(self) -> None:
        """Replaces every node under load."""
        nodes, settle = self.cluster.nodes, SETTLE_SECONDS / 10 if self.quick else SETTLE_SECONDS
        cache_seconds = QUICK_CACHE_SECONDS if self.quick else CACHE_SECONDS
        start_client(self.cluster, "old", self.programs.old, cache_seconds)
        start_client(self.cluster, "new", self.programs.new, cache_seconds)
        pinned = self.programs.checkpoint != self.programs.new_checkpoint
        if pinned:
            start_client(self.cluster, "pinned", self.programs.new, cache_seconds, checks.model_version(nodes[0]))
        time.sleep(settle)
        for node in nodes:
            if pinned and node is nodes[-1]:  # after it there is no node for that client
                self.stop("pinned")
            self.replacements.append(replace_node(self.cluster, self.discovery, node, self.programs))
            log(f"{node.name} is back")
            if node is nodes[0] or not self.quick:
                self.problems += exchange(nodes)
        time.sleep(settle)
        self.stop("old")
        self.stop("new")
        self.problems += problems_of_batch(client_folder(self.cluster, "old"))

    def stop(self, client: str) -> None:
        """Takes the client's summary."""
        summary = self.summaries[client] = stop_client(self.cluster, client)
        self.problems += [f"{client} client: {failure}" for failure in summary.failures]
        if client == "pinned" and len(summary.versions) != 1:
            self.problems.append(f"pinned client: expected one version of the model, got {summary.versions}")


@contextmanager
def running_nodes(programs: Programs, folder: Path, *, quick: bool) -> Iterator[tuple[TestCluster, DiscoveryObserver]]:
    """Three ready nodes with folders of voices of their own, and their Consul; every process is killed on exit."""
    logs = folder / "logs"
    logs.mkdir(parents=True)
    processes = Processes(programs.old, logs)
    try:
        agent = Agents(processes, tool("consul", "scripts/get_consul.sh"), dev=quick).single()
        cluster = TestCluster(processes, programs.checkpoint, folder, agent)
        for number, port in enumerate(free_ports(3), 1):
            name = f"node-{number}"
            voices = folder / f"voices-{number}"
            shutil.copytree(programs.old / VOICES, voices)
            own = {
                "GLMTTS_NODE_NAME": name,
                "GLMTTS_VOICES_DIR": str(voices),
                "GLMTTS_CONSUL": "on",
                "GLMTTS_LOOPBACK_CLUSTER": "on",
                "CONSUL_HTTP_ADDR": agent.address,
            }
            cluster.nodes.append(Node(name, LOOPBACK, port, {**(QUICK_SETTINGS if quick else {}), **own}))
        for node in cluster.nodes:
            cluster.start(node)
        discovery = DiscoveryObserver(agent, "")
        try:
            wait_until_passing(cluster, discovery)
            yield cluster, discovery
        finally:
            discovery.close()
    finally:
        processes.kill()


def replace_node(cluster: TestCluster, discovery: DiscoveryObserver, node: Node, programs: Programs) -> Replacement:
    """Drains a node, and starts the other release in its place."""
    before, start = checks.release(node), time.monotonic()
    cluster.signal(node, signal.SIGTERM)
    cluster.processes.running.pop(node.process).wait(DRAIN_TIMEOUT)
    ended = time.monotonic()
    left = discovery.first_missing({node.id}, start, ended)
    node.program, cluster.checkpoint = programs.new, programs.new_checkpoint
    cluster.start(node)
    wait_until_passing(cluster, discovery)
    back = time.monotonic() - start
    return Replacement(node.name, before, checks.release(node), (left or ended) - start, ended - start, back)


def wait_until_passing(cluster: TestCluster, discovery: DiscoveryObserver) -> None:
    """Waits until Consul returns all nodes. Raises ProcessError, and RuntimeError after PASSING_TIMEOUT seconds."""
    for node in cluster.nodes:
        cluster.wait(node)
    deadline = time.monotonic() + PASSING_TIMEOUT
    while not discovery.is_complete({node.id for node in cluster.nodes}):
        if time.monotonic() > deadline:
            raise RuntimeError("timed out waiting for all nodes to be passing")
        time.sleep(0.1)


def exchange(nodes: Sequence[Node]) -> list[str]:
    """What nodes do not understand of each other; the first one has the newest release, the last one the oldest."""
    return [
        *checks.problems_of_tokens(nodes),
        *checks.problems_of_documents(nodes),
        *checks.problems_of_voices(nodes, (nodes[0], nodes[-1]), RECORDING),
    ]


def client_folder(cluster: TestCluster, client: str) -> Path:
    return cluster.folder / f"client-{client}"


def start_client(cluster: TestCluster, client: str, program: Path, cache_seconds: float, *version: str) -> None:
    """Starts the client of a release in a process of its own; `version` is the only one of the model that it uses."""
    folder = client_folder(cluster, client)
    folder.mkdir()
    path = os.pathsep.join([str(program / "client"), str(ROOT)])
    arguments = [cluster.agent.address, str(folder), str(cache_seconds), *version]
    command = [sys.executable, "-m", "scripts.upgrade.client_load", *arguments]
    # In a folder of its own: Python looks there first.
    cluster.processes.start(client, command, {**os.environ, "PYTHONPATH": path}, folder)


def stop_client(cluster: TestCluster, client: str) -> Summary:
    """Lets a client finish what it has begun. Raises RuntimeError if it has no result."""
    process = cluster.processes.running.pop(client)
    process.terminate()
    process.wait(2 * RESULT_TIMEOUT)
    file = client_folder(cluster, client) / "summary.json"
    if not file.exists():
        raise RuntimeError(f"the {client} client ended without a result; see {cluster.processes.logs / client}.log")
    return Summary(**json.loads(file.read_text()))


def problems_of_batch(folder: Path) -> list[str]:
    """Items that the client before finished, and that this one would make again."""
    results = [json.loads(line) for line in (folder / "out" / RESULTS_FILE).read_text("utf-8").splitlines()]
    done = {result["id"] for result in results if result["error"] is None}
    try:
        with OutputFolder(folder / "out") as output:
            items = [item for item in read_items(folder / "in.jsonl") if isinstance(item, Item) and item.name in done]
            return [f"{item.name}: expected to be finished, is not" for item in items if not output.is_finished(item)]
    except ClientError as error:
        return [str(error)]


def log(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
