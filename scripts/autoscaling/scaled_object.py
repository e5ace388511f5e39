"""The published rule: deploy/kubernetes/keda.yaml, as the autoscaler understands it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from scripts.autoscaling.controller import Rules

KEDA = Path(__file__).resolve().parents[2] / "deploy" / "kubernetes" / "keda.yaml"
_REGION = re.compile(r'region="([^"]*)"')


@dataclass(frozen=True)
class Trigger:
    """A query and its target. `of_all_nodes`: the value is a sum, of which each node has a share."""

    query: str
    threshold: float
    of_all_nodes: bool

    def ratio(self, value: float, nodes: int) -> float:
        """Of the value to its target, for `nodes` nodes."""
        return value / self.threshold / (nodes if self.of_all_nodes else 1)


@dataclass(frozen=True)
class ScaledObject:
    """The triggers, of which the greatest ratio counts, and the rules. `region`: that of the nodes that it is for."""

    triggers: Sequence[Trigger]
    rules: Rules
    region: str

    def ratio(self, ask: Callable[[str], float], nodes: int) -> float:
        """`ask` returns the value of a query."""
        return max(trigger.ratio(ask(trigger.query), nodes) for trigger in self.triggers)


def read_scaled_object(path: Path = KEDA, *, speedup: float = 1.0) -> ScaledObject:
    """The rule in a file; its windows are shorter by `speedup`."""
    spec = yaml.safe_load(path.read_text(encoding="utf-8"))["spec"]
    behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    triggers = [_trigger(trigger) for trigger in spec["triggers"]]
    up, down = behavior["scaleUp"], behavior["scaleDown"]
    up_pods, down_pods = _pods(up), _pods(down)
    rules = Rules(
        target=triggers[0].threshold,
        min_nodes=spec["minReplicaCount"],
        max_nodes=spec["maxReplicaCount"],
        up_stabilization=up["stabilizationWindowSeconds"] / speedup,
        up_nodes=up_pods["value"],
        up_period=up_pods["periodSeconds"] / speedup,
        down_stabilization=down["stabilizationWindowSeconds"] / speedup,
        down_nodes=down_pods["value"],
        down_period=down_pods["periodSeconds"] / speedup,
    )
    regions = {region for trigger in triggers for region in _REGION.findall(trigger.query)}
    if len(regions) != 1:
        raise ValueError(f"{path}: expected queries for one region, got {sorted(regions)}")
    return ScaledObject(triggers, rules, regions.pop())


def _trigger(trigger: Mapping[str, Any]) -> Trigger:
    threshold = float(trigger["metadata"]["threshold"])
    return Trigger(trigger["metadata"]["query"], threshold, trigger.get("metricType", "AverageValue") == "AverageValue")


def _pods(direction: Mapping[str, Any]) -> Mapping[str, Any]:
    [policy] = direction["policies"]
    if policy["type"] != "Pods":
        raise ValueError(f"policies: expected one of type Pods, got {policy['type']}")
    return policy  # type: ignore[no-any-return]


def scalar(result: Sequence[Mapping[str, Any]]) -> float:
    """The value of an instant query with at most one series; 0 for none, as KEDA has it. ValueError for NaN."""
    if not result:
        return 0.0
    [series] = result
    value = float(series["value"][1])
    if math.isnan(value):
        raise ValueError("query: expected a number, got NaN")
    return value
