"""The key of a voice, known before its reference audio is decoded."""

from __future__ import annotations

import hashlib


def voice_digest(reference_audio: bytes, reference_text: str, language: str | None = None) -> str:
    """SHA-256, in hex, of the encoded reference audio, its text, and the language if that is given.

    Space around the text does not count.
    """
    return digest_of_hash(hashlib.sha256(reference_audio).hexdigest(), reference_text, language)


def digest_of_hash(audio_sha256: str, reference_text: str, language: str | None = None) -> str:
    """`voice_digest` of audio of which only the SHA-256, in hex, is known."""
    text = reference_text.strip() + (f"\0{language}" if language else "")  # no text has a NUL
    return hashlib.sha256(bytes.fromhex(audio_sha256) + text.encode()).hexdigest()
