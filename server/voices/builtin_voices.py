"""The voices that come with the server: the first ones of a checkpoint that brings none, as the published one does."""

from __future__ import annotations

from pathlib import Path

from server.voices.folder import voice_folders
from server.voices.merge import is_shared
from server.voices.stored_voice import read_voice

BUILTIN_VOICES = Path(__file__).parent / "builtin"


def brings_voices(folder: Path) -> bool:
    """Whether a checkpoint's folder of voices has one that was made by hand; those that a server stored don't count."""
    voices = map(read_voice, voice_folders(folder))
    return any(voice is not None and not is_shared(voice) for voice in voices)
