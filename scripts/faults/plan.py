"""What scripts/chaos.py does, from its flags."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass

from scripts.faults.report import Bounds

QUICK_SETTINGS = {"GLMTTS_HEALTH_INTERVAL": "1", "GLMTTS_CONSUL_TTL": "3", "GLMTTS_PROPAGATION_DELAY": "2"}


@dataclass(frozen=True)
class Plan:
    """The load and the cluster's settings. `speedup`: the faults' durations are divided by it.

    `jobs`: items of the batch at a time; `listeners` stream meanwhile. `cache`: seconds for which clients reuse the
    list of nodes. `dev`: Consul runs in development mode.
    """

    checkpoint: str
    items: int
    jobs: int
    listeners: int
    cache: float
    node_settings: Mapping[str, str]
    speedup: float
    dev: bool
    bounds: Bounds


def make_plan(args: argparse.Namespace) -> Plan:
    """The quick plan, or one in which nodes and clients have their default settings."""
    bounds = Bounds(args.max_silence, args.max_last_request)
    if args.quick:
        return Plan(
            "fake:delay=0.01", 100, args.jobs, args.listeners, 1.0, QUICK_SETTINGS, speedup=5.0, dev=True, bounds=bounds
        )
    return Plan(args.checkpoint, args.items, args.jobs, args.listeners, 10.0, {}, speedup=1.0, dev=False, bounds=bounds)
