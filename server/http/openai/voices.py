"""Which stored voice a request of OpenAI's API names, and in which style."""

from __future__ import annotations

import re

from glmtts.text.language import language_of
from server.errors import ApiError
from server.voices.store import VoiceStore
from server.voices.stored_voice import StoredVoice

OPENAI_VOICES = (
    *("alloy", "ash", "ballad", "coral", "echo", "fable", "onyx", "nova", "sage", "shimmer", "verse", "marin", "cedar"),
)
"""The voices of OpenAI's API. Some clients offer no others, so each stands for a stored one."""


def choose_voice(store: VoiceStore, name: str, text: str) -> StoredVoice:
    """The stored voice of that name or alias; ApiError 400 names some of the stored ones.

    A name of OpenAI's that is neither stands for one of the voices in the language of `text`, and for the same one as
    long as the stored voices stay the same.
    """
    try:
        return store.get(name)
    except ApiError as error:
        unknown = ApiError(400, error.code, str(error), field=error.field)
    voices = store.all() if name.lower() in OPENAI_VOICES else []
    if not voices:
        raise unknown
    candidates = [voice for voice in voices if voice.language == language_of(text)] or voices
    return candidates[OPENAI_VOICES.index(name.lower()) % len(candidates)]


def style_in(instructions: str, voice: StoredVoice) -> str | None:
    """The first word of `instructions` that is a style of the voice."""
    styles = {style.lower(): style for style in voice.transcripts}
    words = re.findall(r"[a-z0-9_-]+", instructions.lower())
    return next((styles[word] for word in words if word in styles), None)
