"""What probes are told: status and JSON. The edge answers them itself, without a thread."""

from __future__ import annotations

from typing import Any

from server.node import Node


def health() -> tuple[int, dict[str, Any]]:
    """GET /health: the process can respond, whatever the engine does."""
    return 200, {"status": "ok"}


def ready(node: Node) -> tuple[int, dict[str, Any]]:
    """GET /ready: whether the node accepts work, or why not, and how the engine gets on."""
    reason = node.not_ready_reason()
    state = {"status": "ready"} if reason is None else {"status": "not ready", "reason": reason}
    return 200 if reason is None else 503, {**state, **node.progress()}
