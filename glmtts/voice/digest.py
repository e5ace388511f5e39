"""The key of a voice, known before its reference audio is decoded."""

from __future__ import annotations

import hashlib


def voice_digest(reference_audio: bytes, reference_text: str) -> str:
    """SHA-256, in hex, of the encoded reference audio and its text; space around the text does not count."""
    return digest_of_hash(hashlib.sha256(reference_audio).hexdigest(), reference_text)


def digest_of_hash(audio_sha256: str, reference_text: str) -> str:
    """`voice_digest` of audio of which only the SHA-256, in hex, is known."""
    return hashlib.sha256(bytes.fromhex(audio_sha256) + reference_text.strip().encode()).hexdigest()
