"""Storing and deleting voices: POST and DELETE /voices/<name>."""

from __future__ import annotations

import io
import re

import soundfile
from flask import Request

from glmtts.text.characters import is_hanzi
from glmtts.voice.reference_audio import load_reference_audio
from server.errors import invalid_field
from server.http import parsing
from server.http.context import AppContext
from server.http.voice_lookup import prepare_default_voice
from server.voices.store import VOICE_NAME


def enrol(context: AppContext, request: Request, name: str) -> bool:
    """Stores the reference in the body as a style of the voice `name`; True if the style is new.

    The engine makes a voice from it first, so what is stored works. Raises what it raises, and ApiError.
    """
    _check_name(name)
    # Making a voice takes the device, as speech does.
    with context.node.admit() as engine:
        context.voices.check_writable(name)
        params = parsing.parse_voice(request, context.settings.max_body_bytes)
        reference_audio = to_flac(params.reference_audio)
        context.voice_cache.get(engine.make_voice, reference_audio, params.reference_text)
        language = params.language or ("zh" if any(map(is_hanzi, params.reference_text)) else "en")
        is_new = context.voices.put(name, params.style, params.reference_text, reference_audio, language)
        if name == context.settings.default_voice:
            prepare_default_voice(engine, name, context.cluster_config.style, context.voices, context.voice_cache)
    return is_new


def delete(context: AppContext, name: str, style: str | None) -> None:
    """Deletes a stored voice, or one style of it."""
    _check_name(name)
    context.voices.delete(name, style)


def to_flac(reference_audio: bytes) -> bytes:
    """Encoded audio in any format as mono FLAC of the same rate; 24 bits, so that nothing audible is lost."""
    wave, rate = load_reference_audio(reference_audio)
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, rate, format="FLAC", subtype="PCM_24")
    return buffer.getvalue()


def _check_name(name: str) -> None:
    if not re.fullmatch(VOICE_NAME, name):
        expected = "1 to 64 of A-Z a-z 0-9 _ -, starting with a letter or digit"
        raise invalid_field("name", expected, f"{len(name)} characters")
