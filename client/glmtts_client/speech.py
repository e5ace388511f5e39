"""What can be asked of a node, and what comes back. Knows nothing about nodes or connections."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(frozen=True)
class SpeechOptions:
    """How a text shall be spoken; None leaves it to the server. The meanings are those of POST /tts.

    `reference_audio` is an encoded recording. Without a `seed` one is drawn, so that a further try sounds the same.
    """

    voice: str | None = None
    style: str | None = None
    reference_audio: bytes | None = field(default=None, repr=False)
    reference_text: str | None = None
    speed: float | None = None
    sample_rate: int | None = None
    format: str = "wav"
    seed: int | None = None
    phoneme: bool | None = None
    history: bool | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields of a request, but for its text."""
        given = {item.name: getattr(self, item.name) for item in fields(self)}
        if self.reference_audio is not None:
            given["reference_audio"] = base64.b64encode(self.reference_audio).decode()
        return {name: value for name, value in given.items() if value is not None}


DEFAULT_OPTIONS = SpeechOptions()


@dataclass(frozen=True)
class Speech:
    """A whole utterance: `audio` is a file of the wanted format. `seconds` of sound, made in `elapsed` s."""

    audio: bytes = field(repr=False)
    format: str
    sample_rate: int
    audio_seconds: float
    elapsed_seconds: float
    seed: int
    finish_reason: str
    node: str
    model_version: str
    request_id: str
    attempts: int

    @property
    def rtf(self) -> float:
        """Seconds of work, the way there and back included, a second of sound."""
        return self.elapsed_seconds / self.audio_seconds if self.audio_seconds else 0.0
