"""The rules of deploy/kubernetes/hpa.yaml, as the horizontal pod autoscaler applies them."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from scripts.simulation.cluster import ClusterModel

SYNC_SECONDS = 15.0
TOLERANCE = 0.1
"""The autoscaler leaves the number of pods alone while the metric is within this share of its target."""
SAMPLES = 4
"""Of the backlog, one at each sync: the metric is its mean over a minute."""


@dataclass(frozen=True)
class Rules:
    """`target`: backlog per node (s of audio). At most `up_nodes`, or `up_share` of the nodes if that is more, are
    added in `up_period` seconds, and one is removed in `down_period`."""

    target: float = 20.0
    min_nodes: int = 2
    max_nodes: int = 10
    up_stabilization: float = 30.0
    up_nodes: int = 2
    up_share: float = 0.0
    up_period: float = 60.0
    down_stabilization: float = 600.0
    down_period: float = 900.0


@dataclass
class Autoscaler:
    """Adds and removes nodes of `cluster`; a new one needs `load_seconds` until it passes its checks."""

    cluster: ClusterModel
    rules: Rules
    load_seconds: float
    wanted: int = 0
    _samples: deque[float] = field(default_factory=lambda: deque(maxlen=SAMPLES))
    _proposals: deque[tuple[float, int]] = field(default_factory=deque)
    _changes: deque[tuple[float, int]] = field(default_factory=deque)

    def start(self) -> None:
        self.wanted = len(self.cluster.passing)
        self.cluster.clock.after(SYNC_SECONDS, self._sync)

    def _sync(self) -> None:
        clock, cluster = self.cluster.clock, self.cluster
        nodes = [cluster.models[url] for url in cluster.passing]
        self._samples.append(sum(node.backlog_seconds() for node in nodes) / max(1, len(nodes)))
        ratio = sum(self._samples) / len(self._samples) / self.rules.target
        proposal = self.wanted if abs(ratio - 1.0) <= TOLERANCE else math.ceil(len(nodes) * ratio)
        self._proposals.append((clock.now, min(self.rules.max_nodes, max(self.rules.min_nodes, proposal))))
        self._scale_to(self._stabilized())
        clock.after(SYNC_SECONDS, self._sync)

    def _stabilized(self) -> int:
        """The least proposal of the window for scaling up, the greatest of the other for scaling down."""
        now, rules = self.cluster.clock.now, self.rules
        while self._proposals[0][0] < now - max(rules.up_stabilization, rules.down_stabilization):
            self._proposals.popleft()
        up = min(count for when, count in self._proposals if when >= now - rules.up_stabilization)
        down = max(count for when, count in self._proposals if when >= now - rules.down_stabilization)
        return min(max(self.wanted, up), max(down, up))

    def _scale_to(self, count: int) -> None:
        now, rules = self.cluster.clock.now, self.rules
        added = sum(change for when, change in self._changes if change > 0 and when > now - rules.up_period)
        removed = sum(-change for when, change in self._changes if change < 0 and when > now - rules.down_period)
        may_add = max(rules.up_nodes, math.ceil(rules.up_share * (self.wanted - added))) - added
        change = min(count - self.wanted, may_add) if count > self.wanted else -min(self.wanted - count, 1 - removed)
        if not change:
            return
        self.wanted += change
        self._changes.append((now, change))
        for _ in range(change):
            self.cluster.clock.after(self.load_seconds, self.cluster.add_node)
        for _ in range(-change):
            self.cluster.remove_node()
