"""Prints nodes, voices and segments: as tables for people, as JSON lines for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from glmtts_client.cluster import Cluster
from glmtts_client.errors import NoNodeAvailableError
from glmtts_client.speech import Segment
from glmtts_client.status import NodeStatus, cluster_voices, node_statuses

UNLIMITED_WIDTH = 10_000
NODE_COLUMNS = (
    "address", "model", "version", "languages", "rates", "features", "tier", "region", "in flight", "state",
)  # fmt: skip


def print_nodes(cluster: Cluster, *, as_json: bool) -> None:
    """All registered nodes. Raises NoNodeAvailableError if there are none."""
    statuses = node_statuses(cluster)
    if not statuses:
        raise NoNodeAvailableError("no node is registered")
    if as_json:
        _print_lines([_node_json(status) for status in statuses])
    else:
        _print_table(NODE_COLUMNS, [_node_row(status) for status in statuses])


def _node_row(status: NodeStatus) -> list[str]:
    node = status.node
    return [
        node.url,
        node.model,
        node.version,
        ", ".join(sorted(node.languages)),
        ", ".join(f"{rate / 1000:g}k" for rate in sorted(node.sample_rates)),
        ", ".join(sorted(node.features)),
        node.tier,
        node.region,
        "" if status.in_flight is None else str(status.in_flight),
        status.state,
    ]


def _node_json(status: NodeStatus) -> dict[str, Any]:
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
        "release": node.release,
        "state": status.state,
    }


def print_voices(cluster: Cluster, *, as_json: bool) -> None:
    """The stored voices."""
    all_voices = cluster_voices(cluster)
    if as_json:
        _print_lines([vars(voice) for voice in all_voices])
        return
    total = len(cluster.nodes())
    rows = [[voice.name, voice.language, ", ".join(voice.styles), f"{len(voice.nodes)} of {total}"]
            for voice in all_voices]  # fmt: skip
    _print_table(("voice", "language", "styles", "nodes"), rows)


def print_segments(segments: Sequence[Segment], *, as_json: bool, pronunciation: bool) -> None:
    """The segments of a text; with `pronunciation` a row for each character or word, and what will be said."""
    if as_json:
        names = ("text", "pronunciation") if pronunciation else ("text",)
        entries = [{name: getattr(segment, name) for name in names} for segment in segments]
        _print_lines([{"index": index, **entry} for index, entry in enumerate(entries)])
    elif pronunciation:
        rows = [[str(index), *pair] for index, segment in enumerate(segments) for pair in segment.pronunciation]
        _print_table(("segment", "text", "spoken as"), rows)
    else:
        _print_table(("segment", "text"), [[str(index), segment.text] for index, segment in enumerate(segments)])


def _print_table(columns: tuple[str, ...], rows: list[list[str]]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        # Never wrap lines in a file or a pipe.
        console = Console(highlight=False, markup=False, width=UNLIMITED_WIDTH)
    console.print(table)


def _print_lines(entries: list[dict[str, Any]]) -> None:
    for entry in entries:
        click.echo(json.dumps(entry, ensure_ascii=False))
