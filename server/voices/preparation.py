"""Prepares stored voices while a node has nothing else to do: else the first request of each waits for it."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from glmtts.engine.api import Engine
from glmtts.errors import GlmTtsError
from server.errors import ApiError
from server.voices.cache import VoiceCache
from server.voices.features import get_stored_voice
from server.voices.store import VoiceStore

if TYPE_CHECKING:
    from server.voices.stored_voice import StoredVoice

log = logging.getLogger(__name__)

POLL_INTERVAL = 0.5
"""Seconds between two checks whether the engine rests."""


def start_preparing(engine: Engine, voices: VoiceStore, cache: VoiceCache) -> None:
    """Prepares all styles of all voices in a thread, as many as the cache has room for."""
    threading.Thread(target=prepare_stored_voices, args=(engine, voices, cache), name="prepare", daemon=True).start()


def prepare_stored_voices(engine: Engine, voices: VoiceStore, cache: VoiceCache) -> None:
    """Prepares one after another, each when no job runs. A voice that cannot be prepared is left to its requests."""
    for voice in voices.all():
        for style in voice.transcripts:
            while engine.num_running():
                time.sleep(POLL_INTERVAL)
            if not cache.has_room():
                return
            _prepare(engine, voices, cache, voice, style)


def _prepare(engine: Engine, voices: VoiceStore, cache: VoiceCache, voice: StoredVoice, style: str) -> None:
    try:
        reference = voices.reference(voice.name, style)
        if not cache.has(reference.audio, reference.text, reference.language):
            get_stored_voice(cache, voices, engine, reference)
    except (ApiError, GlmTtsError, OSError) as error:
        log.info("a stored voice was not prepared", extra={"fields": {"voice": voice.name, "reason": str(error)}})
