"""The horizontal pod autoscaler over simulated nodes."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from scripts.autoscaling.controller import SYNC_SECONDS, Controller, Rules
from scripts.simulation.cluster import ClusterModel

SAMPLES = 4
"""Of the backlog, one at each sync: the metric of deploy/kubernetes/hpa.yaml is its mean over a minute."""


@dataclass
class Autoscaler:
    """Adds and removes nodes of `cluster`; a new one needs `load_seconds` until it passes its checks.

    `samples`: over how many looks the metric is averaged. `numbers` has the times at which `wanted` changed.
    """

    cluster: ClusterModel
    rules: Rules
    load_seconds: float
    sync_seconds: float = SYNC_SECONDS
    samples: int = SAMPLES
    numbers: list[tuple[float, int]] = field(default_factory=list)
    _samples: deque[float] = field(default_factory=deque)

    def start(self) -> None:
        self._samples = deque(maxlen=self.samples)
        self._controller = Controller(self.rules, len(self.cluster.passing))
        self.cluster.clock.after(self.sync_seconds, self._sync)

    @property
    def wanted(self) -> int:
        """The number of nodes that there should be."""
        return self._controller.wanted

    def _sync(self) -> None:
        clock, cluster = self.cluster.clock, self.cluster
        nodes = [cluster.models[url] for url in cluster.passing]
        self._samples.append(sum(node.backlog_seconds() for node in nodes) / max(1, len(nodes)))
        ratio = sum(self._samples) / len(self._samples) / self.rules.target
        change = self._controller.sync(clock.now, len(nodes), ratio)
        if change:
            self.numbers.append((clock.now, self.wanted))
        for _ in range(change):
            clock.after(self.load_seconds, cluster.add_node)
        for _ in range(-change):
            cluster.remove_node()
        clock.after(self.sync_seconds, self._sync)
