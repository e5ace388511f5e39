"""What a node does between loading its engine and accepting requests."""

from __future__ import annotations

import gc
import logging
import time
from dataclasses import dataclass, field

from glmtts.engine.api import Engine
from glmtts.errors import GlmTtsError
from server.cluster_config import ClusterConfig
from server.discovery.config_watcher import ConfigWatcher
from server.errors import ApiError
from server.http.voice_lookup import prepare_default_voice
from server.observability.metrics import Metrics
from server.settings import Settings
from server.voices.cache import VoiceCache
from server.voices.preparation import start_preparing
from server.voices.replication import VoiceReplicator
from server.voices.store import VoiceStore

log = logging.getLogger(__name__)

VOICES_WAIT = 30.0
"""Seconds at most that a loaded node waits for the stored voices of the others before it takes requests."""
CONFIG_WAIT = 2.0
"""Seconds that a loaded node waits for the shared configuration before it goes on without."""


@dataclass(frozen=True)
class WarmUp:
    """Called with the loaded engine: takes over the cluster's settings and voices, and prepares the default one."""

    settings: Settings
    cluster_config: ClusterConfig
    config_watcher: ConfigWatcher | None
    voices: VoiceStore
    voice_cache: VoiceCache
    replicator: VoiceReplicator | None
    metrics: Metrics
    start: float = field(default_factory=time.monotonic)

    def __call__(self, engine: Engine) -> None:
        self.cluster_config.set_replacements = engine.set_replacements
        if self.config_watcher is not None:
            self.config_watcher.start(CONFIG_WAIT)
        if self.replicator is not None:
            self.replicator.start(engine.info.fingerprint, VOICES_WAIT)
        self._prepare_default_voice(engine)
        start_preparing(engine, self.voices, self.voice_cache)
        gc.collect()
        gc.freeze()  # what is loaded stays: later collections, which stop all threads, need not look at it
        self.metrics.set_model_info(engine.info, time.monotonic() - self.start)

    def _prepare_default_voice(self, engine: Engine) -> None:
        """Without a usable default voice the node still serves: requests may bring their own."""
        name, style = self.settings.default_voice, self.cluster_config.style
        try:
            prepare_default_voice(engine, name, style, self.voices, self.voice_cache)
        except (ApiError, GlmTtsError, OSError) as error:
            log.warning("the default voice is not ready: %s", error)
