"""Prompt features of stored voices, kept beside the recordings: a restart, or another node, need not make them again.

They are a cache: a file that is missing, damaged, or of another checkpoint only costs the time to make the voice.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from glmtts.engine.api import Engine
from glmtts.text.language import Language
from glmtts.voice.digest import voice_digest
from server.errors import ApiError
from server.voices.cache import VoiceCache
from server.voices.store import VoiceStore
from server.voices.stored_voice import Reference, features_file

if TYPE_CHECKING:  # glmtts.voice imports torch, and server imports must not
    from glmtts.voice.voice import Voice

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoredVoiceMaker:
    """Makes the stored voice `name` with `engine`, from its features if `store` has them.

    `language`: in which its text is read; None leaves that to its characters.
    """

    store: VoiceStore
    engine: Engine
    name: str
    language: Language | None

    def __call__(self, reference_audio: bytes, reference_text: str) -> Voice:
        """As `Engine.make_voice`."""
        digest = voice_digest(reference_audio, reference_text, self.language)
        features = self.store.read_features(self.name, features_file(digest, self.engine.info.fingerprint))
        voice = None if features is None else self.engine.load_voice(features, digest, reference_text, self.language)
        if voice is None:
            voice = self.engine.make_voice(reference_audio, reference_text, self.language)
            self.keep(digest, voice)
        return voice

    def keep(self, digest: str, voice: Voice) -> None:
        """Writes the features of a voice with that digest, if it is stored where this server may write."""
        file = features_file(digest, self.engine.info.fingerprint)
        try:
            self.store.write_features(self.name, file, self.engine.save_voice(voice))
        except ApiError as error:
            log.warning("prompt features of stored voice %s: not kept: %s", self.name, error)


def get_stored_voice(
    cache: VoiceCache, store: VoiceStore, engine: Engine, reference: Reference, *, pin: bool = False
) -> Voice:
    """The voice of a `reference` of a stored one, from the cache if it is there. Raises what that raises."""
    make = StoredVoiceMaker(store, engine, reference.voice, reference.language)
    return cache.get(make, reference.audio, reference.text, language=reference.language, pin=pin)
