"""The state of the cluster: each node's health and load, and which nodes have which voices."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from glmtts_client.cluster import Cluster
from glmtts_client.errors import NodeError, ResponseError
from glmtts_client.node import Node

T = TypeVar("T")
MAX_PARALLEL = 16
_IN_FLIGHT = re.compile(r"^glmtts_in_flight (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class NodeStatus:
    """A node, its state in a few words, and the number of its requests in flight; None if unknown."""

    node: Node
    state: str
    in_flight: int | None


@dataclass
class ClusterVoice:
    """A stored voice and the addresses of the nodes that have it."""

    name: str
    language: str
    styles: tuple[str, ...]
    nodes: list[str] = field(default_factory=list)


def node_statuses(cluster: Cluster) -> list[NodeStatus]:
    """Every registered node, sorted by address. Nodes whose checks pass are queried. Raises DiscoveryError."""
    statuses = _for_each(cluster.all_nodes(), lambda node: _status(cluster, node))
    return sorted(statuses, key=lambda status: status.node.url)


def _status(cluster: Cluster, node: Node) -> NodeStatus:
    if node.state != "passing":
        return NodeStatus(node, f"{node.state}: {node.failing_checks}", None)
    try:
        cluster.get(node, "/ready")
        state = "ready"
    except NodeError as error:
        # Consul has not noticed yet.
        return NodeStatus(node, error.reason if error.status else "unreachable", None)
    except ResponseError as error:
        state = f"returns status {error.status}"
    try:
        match = _IN_FLIGHT.search(cluster.get_text(node, "/metrics"))
        return NodeStatus(node, state, None if match is None else round(float(match[1])))
    except (NodeError, ResponseError, ValueError):
        return NodeStatus(node, state, None)


def cluster_voices(cluster: Cluster) -> list[ClusterVoice]:
    """The stored voices of all passing nodes, sorted by name. Raises NodeError or ResponseError if every node fails."""
    nodes = cluster.nodes()
    results = _for_each(nodes, lambda node: _node_voices(cluster, node))
    failures = [result for result in results if isinstance(result, Exception)]
    if failures and len(failures) == len(nodes):
        raise failures[0]
    voices: dict[tuple[str, tuple[str, ...]], ClusterVoice] = {}
    for node, result in zip(nodes, results, strict=True):
        for voice in [] if isinstance(result, Exception) else result:
            name, styles = str(voice["name"]), tuple(voice["styles"])
            new = ClusterVoice(name, str(voice.get("language", "")), styles)
            voices.setdefault((name, styles), new).nodes.append(node.url)
    return [voices[key] for key in sorted(voices)]


def _node_voices(cluster: Cluster, node: Node) -> list[dict[str, Any]] | NodeError | ResponseError:
    try:
        return list(cluster.get(node, "/voices")["voices"])
    except (NodeError, ResponseError) as error:
        return error


def _for_each(nodes: Sequence[Node], query: Callable[[Node], T]) -> list[T]:
    if not nodes:
        return []
    with ThreadPoolExecutor(min(MAX_PARALLEL, len(nodes))) as threads:
        return list(threads.map(query, nodes))
