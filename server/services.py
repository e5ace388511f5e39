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
from server.voice_cache import VoiceCache
from server.voices import VoiceStore


@dataclass(frozen=True)
class Services:
    """`shared` is what holds just now, `metadata` what Consul is told; `keys` is None where no API keys are wanted."""

    settings: Settings
    shared: SharedConfig
    node: Node
    voices: VoiceStore
    cache: VoiceCache
    metrics: Metrics
    records: Records
    hangups: HangupWatch
    keys: ApiKeys | None
    metadata: Callable[[], dict[str, str]]
