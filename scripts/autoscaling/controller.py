"""What the horizontal pod autoscaler does with a metric: from ratios to its target, how many nodes there should be."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

SYNC_SECONDS = 15.0
TOLERANCE = 0.1
"""The autoscaler leaves the number of pods alone while the metric is within this share of its target."""


@dataclass(frozen=True)
class Rules:
    """`target`: backlog per node (s of audio). At most `up_nodes`, or `up_share` of the nodes if that is more, are
    added in `up_period` seconds, and `down_nodes` are removed in `down_period`."""

    target: float = 20.0
    min_nodes: int = 2
    max_nodes: int = 10
    up_stabilization: float = 30.0
    up_nodes: int = 2
    up_share: float = 0.0
    up_period: float = 60.0
    down_stabilization: float = 600.0
    down_nodes: int = 1
    down_period: float = 900.0


@dataclass
class Controller:
    """`wanted`: the number of nodes that there should be."""

    rules: Rules
    wanted: int
    _proposals: deque[tuple[float, int]] = field(default_factory=deque)
    _changes: deque[tuple[float, int]] = field(default_factory=deque)

    def sync(self, now: float, nodes: int, ratio: float) -> int:
        """Changes `wanted`, and returns by how much. `ratio`: of the metric of `nodes` nodes to its target."""
        proposal = self.wanted if abs(ratio - 1.0) <= TOLERANCE else math.ceil(nodes * ratio)
        self._proposals.append((now, min(self.rules.max_nodes, max(self.rules.min_nodes, proposal))))
        change = self._limited(now, self._stabilized(now))
        if change:
            self.wanted += change
            self._changes.append((now, change))
        return change

    def _stabilized(self, now: float) -> int:
        """The least proposal of the window for scaling up, the greatest of the other for scaling down."""
        rules = self.rules
        while self._proposals[0][0] < now - max(rules.up_stabilization, rules.down_stabilization):
            self._proposals.popleft()
        up = min(count for when, count in self._proposals if when >= now - rules.up_stabilization)
        down = max(count for when, count in self._proposals if when >= now - rules.down_stabilization)
        return min(max(self.wanted, up), max(down, up))

    def _limited(self, now: float, count: int) -> int:
        """The change towards `count` that the periods allow."""
        rules = self.rules
        added = sum(change for when, change in self._changes if change > 0 and when > now - rules.up_period)
        removed = sum(-change for when, change in self._changes if change < 0 and when > now - rules.down_period)
        may_add = max(rules.up_nodes, math.ceil(rules.up_share * (self.wanted - added))) - added
        if count > self.wanted:
            return max(0, min(count - self.wanted, may_add))
        return -max(0, min(self.wanted - count, rules.down_nodes - removed))
