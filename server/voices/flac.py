"""The format in which reference audio is stored."""

from __future__ import annotations

import io

import soundfile

from glmtts.voice.reference_audio import load_reference_audio


def to_flac(reference_audio: bytes) -> bytes:
    """Encoded audio in any format as mono FLAC of the same rate; 24 bits, so that nothing audible is lost."""
    wave, rate = load_reference_audio(reference_audio)
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, rate, format="FLAC", subtype="PCM_24")
    return buffer.getvalue()
