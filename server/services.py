"""What the routes work with, passed in as one frozen object. Knows nothing: it is a list of names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from server.hangup import HangupWatch
from server.keys import ApiKeys
from server.metrics import Metrics
from server.node import Node
from server.records import Records
from server.settings import Settings
from server.shared import SharedConfig
from server.tracing import Tracing
from server.voice_cache import VoiceCache
from server.voices import VoiceStore


@dataclass(frozen=True)
class Services:
    """`shared` is what holds just now, `metadata` what Consul is told; no `keys`: no API keys are wanted; no
    `tracing`: nobody wants traces."""

    settings: Settings
    shared: SharedConfig
    node: Node
    voices: VoiceStore
    cache: VoiceCache
    metrics: Metrics
    records: Records
    hangups: HangupWatch
    keys: ApiKeys | None
    tracing: Tracing | None
    metadata: Callable[[], dict[str, str]]
