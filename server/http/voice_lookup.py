"""The voice of a request: cloned from its own reference audio, or a stored one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import g

from glmtts.engine.api import Engine
from glmtts.text.language import LANGUAGES, Language, language_of
from server.cluster_config import Style
from server.errors import ApiError
from server.http.cloning import audit, check_consent
from server.http.context import AppContext
from server.http.schemas import SpeechRequest, TextRequest
from server.voices.cache import VoiceCache
from server.voices.features import get_stored_voice
from server.voices.store import VoiceStore

if TYPE_CHECKING:  # glmtts.voice imports torch, and server imports must not
    from glmtts.voice.voice import Voice


def find_voice(context: AppContext, engine: Engine, params: SpeechRequest) -> Voice:
    """The voice for `params`; ApiError 404 if it is not stored, UnsupportedError if it lacks the style."""
    if params.reference_audio is not None:
        g.record.voice = "upload"
        check_consent(context, params.consent)
        voice = context.voice_cache.get(engine.make_voice, params.reference_audio, params.reference_text)
        audit(context, "clone", recording=params.reference_audio, consent=params.consent)
        return voice
    name = params.voice or context.settings.default_voice
    try:
        reference = context.voices.reference(name, params.requested_style, context.cluster_config.style.emotion)
    except ApiError as error:
        if params.voice is not None or error.status != 404:
            raise
        message = f"voice: expected a stored voice or reference_audio, got none, and the default {name!r} is not stored"
        raise ApiError(404, "unknown_voice", message, field="voice") from None
    g.record.voice = reference.voice
    return get_stored_voice(context.voice_cache, context.voices, engine, reference)


def reading_language(context: AppContext, params: TextRequest) -> Language | None:
    """The language in which the text of `params` is read; None if its characters decide.

    Without letters and ideographs they can't: then it is that of the reference text or of the stored voice. ApiError
    404 for an unknown voice.
    """
    if params.language != "auto":
        return params.language
    if language_of(params.text) is not None:
        return None
    if params.reference_text or (isinstance(params, SpeechRequest) and params.reference_audio):
        return language_of(params.reference_text)
    try:
        voice = context.voices.get(params.voice or context.settings.default_voice)
    except ApiError:
        if params.voice is not None:
            raise
        return None
    return next((language for language in LANGUAGES if language == voice.language), None)


def prepare_default_voice(engine: Engine, name: str, style: Style, voices: VoiceStore, cache: VoiceCache) -> None:
    """Makes the default voice and pins it in the cache. Raises what the store and the engine raise."""
    reference = voices.reference(name, None, style.emotion)
    get_stored_voice(cache, voices, engine, reference, pin=True)
