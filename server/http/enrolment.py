"""Storing and deleting voices: POST and DELETE /voices/<name>."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

from flask import Request, g

from glmtts.text.characters import is_hanzi
from glmtts.voice.digest import voice_digest
from server.errors import invalid_field
from server.http import parsing
from server.http.cloning import audit, check_consent
from server.http.context import AppContext
from server.http.schemas import VoiceRequest
from server.http.voice_lookup import prepare_default_voice
from server.voices.features import StoredVoiceMaker
from server.voices.flac import to_flac
from server.voices.stored_voice import VOICE_NAME, transcript_language
from server.worker_pool import MAX_WAITING


def enrol_from_body(context: AppContext, request: Request, name: str) -> bool:
    """Stores the reference in the body of POST /voices/<name>; True if its style is new. Raises what `enrol` does."""
    _check_name(name)

    def parse() -> tuple[str, VoiceRequest]:
        context.voices.check_writable(name)
        return name, parsing.parse_voice(request, context.settings.max_body_bytes)

    return enrol(context, parse)[1]


def enrol(context: AppContext, parse: Callable[[], tuple[str, VoiceRequest]]) -> tuple[str, bool]:
    """Stores a reference as a style of a voice; its name, and whether the style is new. `parse` reads the body.

    The engine makes a voice from it first, so what is stored works. Raises what it raises, and ApiError.
    """
    # Making a voice takes the device, as speech does.
    with context.node.admit() as engine:
        name, params = parse()
        context.voices.check_writable(name)
        check_consent(context, params.consent)
        reference_audio = context.workers.voices.run(lambda: to_flac(params.reference_audio), max_waiting=MAX_WAITING)
        text = params.reference_text
        language = params.language or ("zh" if any(map(is_hanzi, text)) else "en")
        read_in = transcript_language(text, language)
        make = partial(engine.make_voice, language=read_in)
        voice = context.voice_cache.get(make, reference_audio, text, language=read_in)
        g.record.prompted = voice.prompted
        audit(
            context, "enrol", recording=params.reference_audio, consent=params.consent, voice=name, style=params.style
        )
        is_new = context.voices.put(name, params.style, text, reference_audio, language, consent=params.consent)
        maker = StoredVoiceMaker(context.voices, engine, name, read_in)
        maker.keep(voice_digest(reference_audio, text, read_in), voice)
        if name == context.settings.default_voice:
            prepare_default_voice(engine, name, context.cluster_config.style, context.voices, context.voice_cache)
    return name, is_new


def delete(context: AppContext, name: str, style: str | None) -> None:
    """Deletes a stored voice, or one style of it."""
    _check_name(name)
    audit(context, "delete", voice=name, style=style)
    context.voices.delete(name, style)


def _check_name(name: str) -> None:
    if not re.fullmatch(VOICE_NAME, name):
        expected = "1 to 64 of A-Z a-z 0-9 _ -, starting with a letter or digit"
        raise invalid_field("name", expected, f"{len(name)} characters")
