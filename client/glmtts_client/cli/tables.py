"""Nodes and voices for people, as tables, and for programs, as JSON lines."""

from __future__ import annotations

import json
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from glmtts_client.cluster import Cluster
from glmtts_client.status import NodeStatus, cluster_voices, node_statuses

UNBOUNDED = 10_000


def nodes(cluster: Cluster, *, as_json: bool) -> None:
    """All registered nodes: address, languages, rates, features, version, in flight, state."""
    statuses = node_statuses(cluster)
    if as_json:
        _print_lines([_node(status) for status in statuses])
        return
    table = _table("address", "model", "version", "languages", "rates", "features", "tier", "region", "in flight",
                   "state")  # fmt: skip
    for status in statuses:
        node, flight = status.node, "" if status.in_flight is None else str(status.in_flight)
        rates = ", ".join(f"{rate / 1000:g}k" for rate in sorted(node.sample_rates))
        table.add_row(node.url, node.model, node.version, ", ".join(sorted(node.languages)), rates,
                      ", ".join(sorted(node.features)), node.tier, node.region, flight, status.state)  # fmt: skip
    _print(table)


def _node(status: NodeStatus) -> dict[str, Any]:
    node = status.node
    return {
        "id": node.id,
        "address": node.url,
        "model": node.model,
        "version": node.version,
        "languages": sorted(node.languages),
        "sample_rates": sorted(node.sample_rates),
        "features": sorted(node.features),
        "tier": node.tier,
        "region": node.region,
        "max_streams": node.max_streams,
        "in_flight": status.in_flight,
        "state": status.state,
    }


def voices(cluster: Cluster, *, as_json: bool) -> None:
    """The stored voices: name, language, styles, and on how many of the nodes."""
    found, total = cluster_voices(cluster), len(cluster.nodes())
    if as_json:
        _print_lines([vars(voice) for voice in found])
        return
    table = _table("voice", "language", "styles", "nodes")
    for voice in found:
        table.add_row(voice.name, voice.language, ", ".join(voice.styles), f"{len(voice.nodes)} of {total}")
    _print(table)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _print(table: Table) -> None:
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        # Into a file or a pipe: whole lines, whatever their length.
        console = Console(highlight=False, markup=False, width=UNBOUNDED)
    console.print(table)


def _print_lines(entries: list[dict[str, Any]]) -> None:
    for entry in entries:
        click.echo(json.dumps(entry, ensure_ascii=False))
