"""The key of a voice, known before its reference audio is decoded."""

from __future__ import annotations

import hashlib


def voice_digest(reference_audio: bytes, reference_text: str) -> str:
    """SHA-256, in hex, of the encoded reference audio and its text; space around the text does not count."""
    return hashlib.sha256(hashlib.sha256(reference_audio).digest() + reference_text.strip().encode()).hexdigest()
