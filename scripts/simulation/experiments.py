"""The questions of docs/capacity.md, each answered by a table: rows of cells, the first row is the head."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from scripts.autoscaling.controller import Rules
from scripts.simulation.autoscaler import Autoscaler
from scripts.simulation.choices import CHOICES
from scripts.simulation.cluster import (
    CACHE,
    ClusterModel,
    Load,
    first_audio,
    mean_audio,
    percentile,
    steady,
)
from scripts.simulation.consul import steady_load, storm
from scripts.simulation.node import Pace
from scripts.simulation.program import Utterance

Table = list[tuple[str, ...]]
LATE = 2.0
"""Seconds: a listener who waits longer for the first audio counts as late."""


def choice_table(pace: Pace, *, nodes: int, seconds: float, loads: Sequence[float] = (0.5, 0.7, 0.9)) -> Table:
    """Which choice of a node keeps the first audio early, with lists that are up to 10 s old."""
    head = ("choice of the node", "programs", *(f"p95 at {load:.0%} (429s)" for load in loads))
    return [head, *_choice_rows(pace, nodes, seconds, loads)]


def _choice_rows(pace: Pace, nodes: int, seconds: float, loads: Sequence[float]) -> Iterator[tuple[str, ...]]:
    for name, choice in CHOICES.items():
        for programs in (1, nodes, 100 * nodes):
            cells = []
            for load in loads:
                cluster = ClusterModel(pace, nodes, programs, choice=choice)
                heard = cluster.run(steady(pace, nodes, load, seconds))
                refused = sum(each.attempts - 1 for each in heard) / len(heard)
                cells.append(f"{percentile(first_audio(heard), 0.95):.2f} ({refused:.1%})")
            yield (name, str(programs), *cells)


def staleness_table(pace: Pace, *, nodes: int, seconds: float) -> Table:
    """What the age of the list costs while nodes come and go: every 10 s one is killed, and another one joins."""
    rows: Table = [("list at most … old (s)", "first audio p50", "p95", "p99", "requests to dead nodes")]
    for cache in (0.0, 1.0, CACHE, 30.0, 60.0):
        cluster = ClusterModel(pace, nodes, programs=nodes, cache=cache)
        _replace_nodes(cluster, every=10.0)
        heard = cluster.run(steady(pace, nodes, 0.6, seconds))
        wait = first_audio(heard)
        again = sum(each.attempts - 1 for each in heard) / len(heard)
        rows.append((f"{cache:g}", *(f"{percentile(wait, share):.2f}" for share in (0.5, 0.95, 0.99)), f"{again:.1%}"))
    return rows


def _replace_nodes(cluster: ClusterModel, every: float) -> None:
    def replace_one() -> None:
        cluster.kill_oldest()
        cluster.add_node()
        cluster.clock.after(every, replace_one)

    cluster.clock.after(every, replace_one)


def zone_table(pace: Pace, *, nodes: int, loads: Sequence[float] = (0.4, 0.5, 0.6, 0.65, 0.7, 0.8)) -> Table:
    """What the loss of one of three zones does, by the load before it. Nothing is added afterwards."""
    rows: Table = [
        (
            *("load before", "load after", "p95 before", "p95 in the next 10 s", "p95 after a minute"),
            *("cut streams: silence p95", "late (> 2 s)", "never heard"),
        )
    ]
    for load in loads:
        before, during, after, heard = zone_loss(pace, nodes, load)
        silences = [each.silence for each in heard if each.silence]
        waits = [first_audio(each) for each in (before, during, after)]
        rows.append(
            (
                *(f"{load:.0%}", f"{load * 1.5:.0%}"),
                *(f"{percentile(each, 0.95):.2f}" for each in waits),
                *(f"{percentile(silences, 0.95):.2f}", _share(waits[2], LATE), _share(waits[2], math.inf)),
            )
        )
    return rows


def zone_loss(
    pace: Pace, nodes: int, load: float
) -> tuple[list[Utterance], list[Utterance], list[Utterance], list[Utterance]]:
    """The listeners of the minute before the loss, of the 10 s after it, of the second minute after it, and all."""
    cluster = ClusterModel(pace, nodes, programs=nodes)
    at = 60.0
    cluster.clock.after(at, lambda: cluster.lose_zone(0))
    heard = cluster.run(steady(pace, nodes, load, at + 120.0), drain=120.0)
    before, during, after = ((0.0, at), (at, at + 10.0), (at + 60.0, at + 120.0))
    return (*(_asked(heard, *span) for span in (before, during, after)), heard)  # type: ignore[return-value]  # a generator's length is not known


def _asked(heard: Sequence[Utterance], start: float, end: float) -> list[Utterance]:
    return [each for each in heard if start <= each.asked < end]


def backlog_table(paces: Sequence[Pace], *, nodes: int, seconds: float) -> Table:
    """The metric that autoscalers go by, at a steady load."""
    rows: Table = [("pace", "load", "backlog of a node (s of audio)", "first audio p95", "429s")]
    for pace in paces:
        for load in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2):
            cluster = ClusterModel(pace, nodes, programs=nodes)
            backlogs: list[float] = []
            _sample(cluster, backlogs, every=5.0, until=seconds)
            heard = cluster.run(steady(pace, nodes, load, seconds))
            waits, again = first_audio(heard), sum(each.attempts - 1 for each in heard) / len(heard)
            rows.append(
                (
                    *(pace.name, f"{load:.0%}", f"{sum(backlogs) / len(backlogs):.0f}"),
                    *(f"{percentile(waits, 0.95):.2f}", f"{again:.1%}"),
                )
            )
    return rows


def _sample(cluster: ClusterModel, backlogs: list[float], every: float, until: float) -> None:
    def sample() -> None:
        backlogs.extend(model.backlog_seconds() for model in cluster.models.values())
        if cluster.clock.now < until - every:
            cluster.clock.after(every, sample)

    cluster.clock.after(2 * every, sample)


def ramp(pace: Pace, nodes: int, *, rise: float, quiet: float = 120.0, high: float = 360.0) -> Load:
    """20 % of the capacity of `nodes`, then within `rise` seconds three times as much."""
    full = nodes * pace.capacity / mean_audio()

    def rate(now: float) -> float:
        return full * (0.2 + 0.4 * min(1.0, max(0.0, (now - quiet) / rise)))

    return Load(rate, quiet + rise + high, full)


def scaling_table(pace: Pace, *, target: float, nodes: int) -> Table:
    """How fast scaling must be: a cluster of 0.4 × `nodes` at half of its capacity, whose load triples."""
    rows: Table = [
        (
            *("rules", "loading (s)", "tripled within (s)", "late (> 2 s)", "never heard"),
            *("p95 in the worst minute", "nodes at the end"),
        )
    ]
    for name, rules in scaling_rules(target).items():
        for load_seconds, rise in ((15.0, 60.0), (60.0, 60.0), (180.0, 60.0), (60.0, 600.0)):
            heard, at_end = scale(pace, rules, load_seconds, rise, nodes)
            rows.append((name, f"{load_seconds:g}", f"{rise:g}", *_lateness(heard), str(at_end)))
    return rows


def scaling_rules(target: float) -> dict[str, Rules]:
    """The rules of deploy/, without their limit on the number of nodes, and quicker ones."""
    slow = Rules(target=target, max_nodes=1000)
    return {
        "2 nodes a minute (deploy/)": slow,
        "half of the nodes a minute": replace(slow, up_share=0.5),
        "twice the nodes every 15 s, at once": replace(slow, up_share=1.0, up_period=15.0, up_stabilization=0.0),
    }


def scale(pace: Pace, rules: Rules, load_seconds: float, rise: float, nodes: int) -> tuple[list[Utterance], int]:
    """The listeners of a ramp to 60 % of the capacity of `nodes`, and the nodes at its end."""
    cluster = ClusterModel(pace, round(nodes * 0.4), programs=nodes)
    Autoscaler(cluster, rules, load_seconds).start()
    heard = cluster.run(ramp(pace, nodes, rise=rise))
    return heard, len(cluster.passing)


def _lateness(heard: Sequence[Utterance]) -> tuple[str, str, str]:
    waits = first_audio(heard)
    minutes = [first_audio(_asked(heard, start, start + 60.0)) for start in range(0, int(heard[-1].asked), 60)]
    worst = max(percentile(minute, 0.95) for minute in minutes if len(minute) > 20)
    return _share(waits, LATE), _share(waits, math.inf), "never" if math.isinf(worst) else f"{worst:.1f}"


def _share(waits: Sequence[float], limit: float) -> str:
    """The share of the waits that are longer than `limit`, or infinite."""
    return f"{sum(wait > limit or math.isinf(wait) for wait in waits) / len(waits):.1%}"


SIZES = ((10, 100), (100, 1000), (300, 3000), (1000, 10000))
MODES = {"poll": "every 10 s", "watch": "watch", "cached": "every 10 s, agents' caches"}
CHANGES_PER_NODE = 4 / 86400
"""Of the list, per second: a node comes, fails, passes or leaves four times a day."""
CLIENTS_PER_AGENT = 10


def consul_table() -> Table:
    """What Consul bears in calm times."""
    rows: Table = [
        (
            *("nodes", "clients", "clients' lists", "/health checks /s", "heartbeats /s", "nodes' calls to servers /s"),
            *("lists from servers /s", "servers' cores", "an agent's core for 10 clients", "MB/s a client"),
        )
    ]
    for nodes, clients in SIZES:
        for mode, name in MODES.items():
            agents = clients // CLIENTS_PER_AGENT
            load = steady_load(nodes, clients, mode, agents=agents, changes=nodes * CHANGES_PER_NODE)
            rows.append((
                f"{nodes:,}", f"{clients:,}", name,
                *(f"{value:.0f}" for value in (load.checks, load.heartbeats, load.server_reads)), f"{load.lists:.1f}",
                f"{load.cores:.2f}", f"{load.agent_ms * CLIENTS_PER_AGENT / 1000:.1%}", f"{load.mb_per_client:.3f}",
            ))  # fmt: skip
    return rows


def storm_table(nodes: int = 1000, cores: int = 6) -> Table:
    """All nodes return at once."""
    rows: Table = [
        (
            *("longest back-off (s)", "watches", "half back (s)", "95 %", "all"),
            *("failed attempts", "cores in the busiest second", "most registrations in a second"),
        )
    ]
    for cap in (1.0, 10.0, 60.0):
        for watchers in (0, 100, 200, 1000):
            result = storm(nodes, cap, watchers=watchers, cores=cores)
            rows.append((
                f"{cap:g}", f"{watchers:,}", f"{result.half:.1f}", f"{result.most:.1f}",
                "not in 10 min" if math.isinf(result.all) else f"{result.all:.1f}",
                f"{result.failures:,}", f"{result.peak_cores:.1f}", str(result.peak_registrations),
            ))  # fmt: skip
    return rows


def markdown(table: Table) -> str:
    head, *rows = table
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
