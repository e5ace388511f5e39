"""What the routes work with, passed in as one frozen object. Knows nothing: it is a list of names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from server.cluster_config import ClusterConfig
from server.http.auth import ApiKeys
from server.http.disconnect import HangupWatch
from server.node import Node
from server.observability.metrics import Metrics
from server.observability.request_log import RequestHistory
from server.observability.tracing import Tracing
from server.settings import Settings
from server.voices.cache import VoiceCache
from server.voices.store import VoiceStore


@dataclass(frozen=True)
class Services:
    """`shared` is what holds just now, `metadata` what Consul is told; no `keys`: no API keys are wanted; no
    `tracing`: nobody wants traces."""

    settings: Settings
    shared: ClusterConfig
    node: Node
    voices: VoiceStore
    cache: VoiceCache
    metrics: Metrics
    records: RequestHistory
    hangups: HangupWatch
    keys: ApiKeys | None
    tracing: Tracing | None
    metadata: Callable[[], dict[str, str]]
