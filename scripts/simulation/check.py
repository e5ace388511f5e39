"""Compares the model with three real nodes: the same listeners, at the same times, with the same texts.

Servers, HTTP, Consul and glmtts_client are real. The engine is the fake one: what else runs changes its pace little.
The overhead is measured on the idle cluster, the pace during the run, from the nodes' metrics.
"""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import requests
from glmtts_client import Cluster

from scripts.faults.cluster import running_cluster
from scripts.simulation.cluster import ClusterModel, first_audio, percentile, steady
from scripts.simulation.node import EPSILON, Pace
from scripts.simulation.program import Utterance

NODES = 3
MEDIAN_AUDIO = 0.83
"""Seconds; short utterances, so that there are many of them in a short time."""
SECONDS_PER_CHARACTER = 0.1
CHUNK_SECONDS = 0.2
"""The fake engine's."""
PASSING_TIMEOUT = 60.0


@dataclass(frozen=True)
class Comparison:
    """First audio (s) of the real nodes and of the model, by share."""

    pace: Pace
    utterances: int
    real: Mapping[float, float]
    model: Mapping[float, float]

    def error(self, share: float) -> float:
        """Relative difference of the model from the real nodes."""
        return self.model[share] / self.real[share] - 1.0


def compare(root: Path, folder: Path, consul: str, *, delay: float, utilisation: float, seconds: float) -> Comparison:
    """`delay`: seconds that the fake engine needs for a chunk. `utilisation`: of the nodes' capacity."""
    checkpoint = f"fake:delay={delay},max_queued=64"
    with running_cluster(root, folder, "single", checkpoint, consul, {}, dev=True) as nodes:
        overhead = measure_overhead(nodes.agent.address, delay, NODES)
        pace = Pace("expected", {1: CHUNK_SECONDS / delay}, CHUNK_SECONDS, overhead, slots=1)
        asked = steady(pace, NODES, utilisation, seconds, median_audio=MEDIAN_AUDIO).utterances(random.Random(1))
        real = _listen(nodes.agent.address, asked)
        pace = replace(
            pace, name="measured", audio_rates={1: CHUNK_SECONDS / chunk_seconds([node.url for node in nodes.nodes])}
        )
    utterances = [Utterance(work_seconds(each.audio_seconds), each.asked) for each in asked]
    model = ClusterModel(pace, NODES, programs=1, asks_for_segments=True).run_utterances(utterances, seconds + 60.0)
    shares = (0.5, 0.95)
    return Comparison(
        pace,
        len(utterances),
        {share: percentile(real, share) for share in shares},
        {share: percentile(first_audio(model), share) for share in shares},
    )


def wait_for_nodes(client: Cluster, nodes: int) -> None:
    """Raises RuntimeError after PASSING_TIMEOUT seconds."""
    deadline = time.monotonic() + PASSING_TIMEOUT
    while len(client.nodes()) < nodes:
        if time.monotonic() > deadline:
            raise RuntimeError(f"fewer than {nodes} nodes pass after {PASSING_TIMEOUT:g} s")
        time.sleep(0.1)


def measure_overhead(consul: str, delay: float, nodes: int) -> float:
    """What the first audio takes beyond the engine's delay for a chunk, for single utterances one after the other."""
    with Cluster(consul, watch=True) as client:
        wait_for_nodes(client, nodes)
        return max(0.0, statistics.median(first_audio_of(client, seconds=1.0) for _ in range(9)) - delay)


def chunk_seconds(urls: Sequence[str]) -> float:
    """The engine's mean time for a chunk, of all nodes since their start."""
    totals = {"sum": 0.0, "count": 0.0}
    for url in urls:
        for line in requests.get(f"{url}/metrics", timeout=10).text.splitlines():
            name, _, value = line.partition(" ")
            if name in ("glmtts_decode_step_seconds_sum", "glmtts_decode_step_seconds_count"):
                totals[name.rpartition("_")[2]] += float(value)
    return totals["sum"] / totals["count"]


def first_audio_of(client: Cluster, seconds: float) -> float:
    """Seconds until the first samples of an utterance that is `seconds` long; returns at its end."""
    begin = time.monotonic()
    with client.stream("a" * _characters(seconds)) as stream:
        next(stream)
        first = time.monotonic() - begin
        for _ in stream:
            pass
    return first


def _characters(seconds: float) -> int:
    return max(1, round(seconds / SECONDS_PER_CHARACTER))


def work_seconds(seconds: float) -> float:
    """What the engine makes of it: whole chunks."""
    return math.ceil(_characters(seconds) * SECONDS_PER_CHARACTER / CHUNK_SECONDS - EPSILON) * CHUNK_SECONDS


def _listen(consul: str, utterances: Sequence[Utterance]) -> list[float]:
    """First audio (s) of each utterance, which a thread of its own asks for at its time."""
    with Cluster(consul, watch=True, rng=random.Random("1-0")) as client, ThreadPoolExecutor(len(utterances)) as pool:
        wait_for_nodes(client, NODES)
        start = time.monotonic()
        waiting = []
        for each in utterances:
            time.sleep(max(0.0, start + each.asked - time.monotonic()))
            waiting.append(pool.submit(first_audio_of, client, each.audio_seconds))
        return [future.result() for future in waiting]
