"""From an upload to a stored voice, and away with it: what POST and DELETE /voices/<name> do.

Knows nothing about files, nor about what an engine makes of a recording.
"""

from __future__ import annotations

import io
import re

import soundfile
from flask import Request

from glmtts.engine.api import Engine
from glmtts.text.characters import is_hanzi
from glmtts.voice.reference_audio import load_recording
from server.errors import ApiError
from server.http import parsing
from server.http.context import Services
from server.voices.store import VOICE_NAME


def enrol(services: Services, request: Request, name: str) -> bool:
    """Stores the style that the body brings under `name`; True when it is new. It has been tried on the engine."""
    _check_name(name)
    # Making a voice is work for the device, as speech is.
    with services.node.admit() as engine:
        services.voices.check_writable(name)
        asked, recording = parsing.read_voice(request, services.settings)
        flac = to_flac(recording)
        services.cache.get(engine.make_voice, flac, asked.reference_text)
        language = asked.language or ("zh" if any(map(is_hanzi, asked.reference_text)) else "en")
        fresh = services.voices.put(name, asked.style, asked.reference_text, flac, language)
        if name == services.settings.default_voice:
            prepare_default(services, engine)
    return fresh


def dismiss(services: Services, name: str, style: str | None) -> None:
    """Removes a stored voice, or one style of it."""
    _check_name(name)
    services.voices.delete(name, style)


def prepare_default(services: Services, engine: Engine) -> None:
    """Makes the default voice ready, to stay so. Raises what the store and the engine raise."""
    recording, transcript, _ = services.voices.reference(
        services.settings.default_voice, None, services.shared.style.emotion
    )
    services.cache.get(engine.make_voice, recording, transcript, pin=True)


def to_flac(recording: bytes) -> bytes:
    """A recording in any format to one of the same rate: FLAC, mono, 24 bits, so that nothing audible is lost."""
    wave, rate = load_recording(recording)
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, rate, format="FLAC", subtype="PCM_24")
    return buffer.getvalue()


def _check_name(name: str) -> None:
    if not re.fullmatch(VOICE_NAME, name):
        want = "1 to 64 of A-Z a-z 0-9 _ -, with a letter or digit first"
        raise ApiError(400, "invalid_field", f"name: came {len(name)} characters; want {want}", field="name")
