"""The objects that the routes work with, passed in as one frozen dataclass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from server.cluster_config import ClusterConfig
from server.discovery.cluster_view import ClusterView
from server.http.access import AccessControl
from server.node import Node
from server.observability.audit import AuditLog
from server.observability.metrics import Metrics
from server.observability.request_log import RequestHistory
from server.observability.tracing import Tracing
from server.settings import Settings
from server.voices.cache import VoiceCache
from server.voices.store import VoiceStore
from server.worker_pool import Workers


@dataclass(frozen=True)
class AppContext:
    """Everything that a request may need."""

    settings: Settings
    node_id: str
    """The node's id in Consul."""
    cluster_config: ClusterConfig
    node: Node
    voices: VoiceStore
    voice_cache: VoiceCache
    workers: Workers
    metrics: Metrics
    request_history: RequestHistory
    access: AccessControl
    audit: AuditLog
    tracing: Tracing | None
    """None: requests are not traced."""
    request_drain: Callable[[], None]
    """Begins what SIGTERM begins, and returns."""
    metadata: Callable[[], dict[str, str]]
    """The node's metadata as registered in Consul; ApiError 503 while the model loads."""
    cluster_view: ClusterView
