"""Looks at all nodes at once: how each stands, what it is doing, which voices it has. Knows nothing about tables."""

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
    """A node, how many requests are at it, and how it stands in one word or a few; None: it did not say."""

    node: Node
    state: str
    in_flight: int | None


@dataclass
class ClusterVoice:
    """A stored voice and the nodes that have it."""

    name: str
    language: str
    styles: tuple[str, ...]
    nodes: list[str] = field(default_factory=list)


def node_statuses(cluster: Cluster) -> list[NodeStatus]:
    """Every registered node, asked for itself where its checks pass; by address."""
    return sorted(
        _of_each(cluster.all_nodes(), lambda node: _status(cluster, node)), key=lambda status: status.node.url
    )


def _status(cluster: Cluster, node: Node) -> NodeStatus:
    if node.state != "passing":
        return NodeStatus(node, f"{node.state}: {node.failing_checks}", None)
    try:
        cluster.get(node, "/ready")
        state = "ready"
    except NodeError as error:
        # What Consul does not know yet.
        return NodeStatus(node, error.reason if error.status else "unreachable", None)
    except ResponseError as error:
        state = f"answers {error.status}"
    try:
        found = _IN_FLIGHT.search(cluster.text(node, "/metrics"))
        return NodeStatus(node, state, None if found is None else round(float(found[1])))
    except (NodeError, ResponseError, ValueError):
        return NodeStatus(node, state, None)


def cluster_voices(cluster: Cluster) -> list[ClusterVoice]:
    """The stored voices of all passing nodes, by name. NodeError or ResponseError when not one node says."""
    nodes = cluster.nodes()
    answers = _of_each(nodes, lambda node: _voices(cluster, node))
    failures = [answer for answer in answers if isinstance(answer, Exception)]
    if failures and len(failures) == len(nodes):
        raise failures[0]
    known: dict[tuple[str, tuple[str, ...]], ClusterVoice] = {}
    for node, answer in zip(nodes, answers, strict=True):
        for voice in [] if isinstance(answer, Exception) else answer:
            key = str(voice["name"]), tuple(voice["styles"])
            known.setdefault(key, ClusterVoice(*key[:1], str(voice.get("language", "")), key[1])).nodes.append(node.url)
    return [known[key] for key in sorted(known)]


def _voices(cluster: Cluster, node: Node) -> list[dict[str, Any]] | NodeError | ResponseError:
    try:
        return list(cluster.get(node, "/voices")["voices"])
    except (NodeError, ResponseError) as error:
        return error


def _of_each(nodes: Sequence[Node], ask: Callable[[Node], T]) -> list[T]:
    if not nodes:
        return []
    with ThreadPoolExecutor(min(MAX_PARALLEL, len(nodes))) as threads:
        return list(threads.map(ask, nodes))
