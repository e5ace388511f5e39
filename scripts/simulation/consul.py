"""What Consul has to bear: its work in calm times, and when all nodes return at once after an outage."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

from scripts.simulation.clock import Clock
from scripts.simulation.cluster import percentile

HEARTBEAT_SECONDS = 6.75
"""Mean time between two heartbeats of a node: 0.5 to 1 times 9 s."""
CHECK_SECONDS, POLL_SECONDS, KV_SECONDS, WATCH_SECONDS = 10.0, 10.0, 10.8, 62.4
"""Between two /health checks, two lists of a polling client, two rounds of a node's KV watch, and two lists of a watch
of which nothing has changed. With Consul's own jitter and the pauses of node and client."""
KV_CALLS = 4
"""A list of the keys, and one call for each of three keys that are not set."""
MIN_WATCH_INTERVAL = 0.5
"""Seconds between two lists of a watch: glmtts_client's."""
CALL_TIMEOUT = 2.0
"""Seconds after which a node gives a call up."""


@dataclass(frozen=True)
class Costs:
    """CPU time in ms, measured with Consul 1.8.7 (docs/capacity.md).

    `list_server`, `list_agent`: a list, at a server and at the agent that the client asks. `cached_agent`: a list from
    that agent's cache. `filtered_server`: one id, found among all nodes of the service. These four are per node in the
    list. `node_server`: the checks of one node. `register_server`: a registration with the first heartbeats.
    `kv_server`: a call to the KV store. `list_bytes`: of JSON, per node in the list.
    """

    list_server: float = 0.038
    list_agent: float = 0.056
    cached_agent: float = 0.0215
    filtered_server: float = 0.0063
    node_server: float = 0.1
    register_server: float = 12.0
    kv_server: float = 0.2
    list_bytes: float = 1520.0


@dataclass(frozen=True)
class Steady:
    """Per second, in calm times. `cores`: of all servers together; `agent_ms` and `mb_per_client`: per client and
    second, at its agent."""

    checks: float
    heartbeats: float
    server_reads: float
    lists: float
    cores: float
    agent_ms: float
    mb_per_client: float


def steady_load(nodes: int, clients: int, mode: str, *, agents: int, changes: float, costs: Costs = Costs()) -> Steady:
    """`mode`: poll, watch or cached. `agents`: those that the clients share. `changes`: of the list, per second."""
    if mode == "poll":
        lists, agent = clients / POLL_SECONDS, costs.list_agent / POLL_SECONDS
    elif mode == "watch":
        each = 1.0 / WATCH_SECONDS + min(changes, 1.0 / MIN_WATCH_INTERVAL)
        lists, agent = clients * each, costs.list_agent * each
    else:  # one blocking query for each agent, of up to ten minutes
        lists, agent = min(agents, clients) * (1.0 / 600.0 + changes), costs.cached_agent / POLL_SECONDS
    reads = nodes * (1.0 / HEARTBEAT_SECONDS + KV_CALLS / KV_SECONDS)
    own = nodes / HEARTBEAT_SECONDS * costs.node_server + nodes * KV_CALLS / KV_SECONDS * costs.kv_server
    return Steady(
        checks=nodes / CHECK_SECONDS,
        heartbeats=2 * nodes / HEARTBEAT_SECONDS,
        server_reads=reads,
        lists=lists,
        cores=(own + lists * costs.list_server * nodes) / 1000.0,
        agent_ms=agent * nodes,
        mb_per_client=costs.list_bytes * nodes / 1e6 * (lists / clients if mode == "watch" else 1.0 / POLL_SECONDS),
    )


class Servers:
    """`cores` of CPU that work through a queue of calls."""

    def __init__(self, clock: Clock, cores: int) -> None:
        self._clock, self._free = clock, cores
        self._queue: deque[tuple[float, Callable[[], None]]] = deque()
        self.busy: Counter[int] = Counter()
        """CPU seconds by second."""

    def call(self, milliseconds: float, then: Callable[[], None]) -> None:
        self._queue.append((milliseconds / 1000.0, then))
        self._next()

    def _next(self) -> None:
        while self._free and self._queue:
            seconds, then = self._queue.popleft()
            self._free -= 1
            self.busy[int(self._clock.now)] += seconds  # type: ignore[assignment]  # typeshed has counts only
            self._clock.after(seconds, lambda then=then: self._finish(then))  # type: ignore[misc]

    def _finish(self, then: Callable[[], None]) -> None:
        self._free += 1
        then()
        self._next()


@dataclass(frozen=True)
class Storm:
    """How `nodes` came back: seconds until half, 95 % and all of them are registered, failed attempts, the CPU seconds
    of the busiest second, and the most registrations in one."""

    half: float
    most: float
    all: float
    failures: int
    peak_cores: float
    peak_registrations: int


class _Returning:
    """A node that has been without Consul for long: it tries, and after a failure waits up to `cap` seconds."""

    def __init__(self, storm: _StormModel, cap: float) -> None:
        self._storm, self._cap = storm, cap
        storm.clock.after(storm.rng.uniform(0.0, cap), self._attempt)

    def _attempt(self) -> None:
        storm, costs = self._storm, self._storm.costs
        read = costs.filtered_server * storm.nodes
        # Is the id in use; register; is it shown; is it in use now (Reconciler.reconcile).
        self._call([read, costs.register_server, read, read])

    def _call(self, rest: list[float]) -> None:
        storm, sent = self._storm, self._storm.clock.now

        def answered() -> None:
            if storm.clock.now - sent > CALL_TIMEOUT:
                storm.failures += 1
                storm.clock.after(storm.rng.uniform(0.1, max(0.2, self._cap)), self._attempt)
            elif len(rest) > 1:
                self._call(rest[1:])
            else:
                storm.returned.append(storm.clock.now)

        storm.servers.call(rest[0], answered)


class _StormModel:
    def __init__(self, nodes: int, watchers: int, cores: int, costs: Costs, seed: int) -> None:
        self.nodes, self.costs = nodes, costs
        self.clock, self.rng = Clock(), random.Random(seed)
        self.servers = Servers(self.clock, cores)
        self.returned: list[float] = []
        self.failures = 0
        for _ in range(watchers):
            self.clock.after(self.rng.uniform(0.0, MIN_WATCH_INTERVAL), self._watch)

    def _watch(self) -> None:
        """The list changes all the time: each watch asks for it again and again."""
        if len(self.returned) < self.nodes:
            milliseconds = self.costs.list_server * len(self.returned)
            self.servers.call(milliseconds, lambda: self.clock.after(MIN_WATCH_INTERVAL, self._watch))


def storm(nodes: int, cap: float, *, watchers: int, cores: int, costs: Costs = Costs(), seed: int = 1) -> Storm:
    """All of `nodes` return after a long outage of Consul, whose servers have `cores` in all and no data. `cap`: the
    longest back-off (s). `watchers`: watching clients, or agents that do so for theirs."""
    model = _StormModel(nodes, watchers, cores, costs, seed)
    for _ in range(nodes):
        _Returning(model, cap)
    model.clock.run(600.0)
    when = model.returned
    return Storm(
        percentile(when, 0.5), percentile(when, 0.95), when[-1] if len(when) == nodes else float("inf"),
        model.failures, max(model.servers.busy.values()), max(Counter(map(int, when)).values()),
    )  # fmt: skip
