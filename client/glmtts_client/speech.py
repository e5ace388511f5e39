"""What a client can ask for (SpeechOptions), and what it gets (Speech)."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

Language = Literal["auto", "en", "zh"]


@dataclass(frozen=True)
class SpeechOptions:
    """How to speak a text: the fields of POST /tts. None leaves a field to the server.

    `language`: zh and en also restrict the nodes to those with that language; auto does not. `reference_audio` is an
    encoded audio file, and `consent` says who agreed to its use. Without a `seed` the client picks one, so that a retry
    sounds the same.
    """

    language: Language | None = None
    voice: str | None = None
    style: str | None = None
    reference_audio: bytes | None = field(default=None, repr=False)
    reference_text: str | None = None
    consent: str | None = None
    speed: float | None = None
    sample_rate: int | None = None
    format: str = "wav"
    seed: int | None = None
    phoneme: bool | None = None
    history: bool | None = None
    word_timings: bool | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields of the request body, except the text; `reference_audio` is base64."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        if self.reference_audio is not None:
            values["reference_audio"] = base64.b64encode(self.reference_audio).decode()
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class Segment:
    """A part of a text as it will be spoken. `pronunciation`: its characters and words, each with its sound."""

    text: str
    pronunciation: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class TimedText:
    """Where a segment, or a word of one, is in the audio. `estimated`: a word that is spread within its segment.

    `words`: of a segment, if SpeechOptions.word_timings asks for them.
    """

    text: str
    start_seconds: float
    end_seconds: float
    estimated: bool = False
    words: tuple[TimedText, ...] = ()

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> TimedText:
        """From an entry of `timing` in GET /requests/<id>, or of its `words`.

        Raises LookupError, TypeError, ValueError.
        """
        return TimedText(
            str(values["text"]),
            float(values["start_seconds"]),
            float(values["end_seconds"]),
            bool(values.get("estimated", False)),
            tuple(map(TimedText.from_json, values.get("words", ()))),
        )

    def later(self, seconds: float) -> TimedText:
        """The same behind `seconds` of other audio."""
        words = tuple(word.later(seconds) for word in self.words)
        return replace(
            self, start_seconds=self.start_seconds + seconds, end_seconds=self.end_seconds + seconds, words=words
        )


DEFAULT_OPTIONS = SpeechOptions()


@dataclass(frozen=True)
class Speech:
    """A complete utterance. `audio` is a file in `format`; `elapsed_seconds` is the time until it had arrived."""

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
    skipped_characters: int = 0
    """Characters of the text that were left out, because they belong to a language that is not spoken."""
    timing: tuple[TimedText, ...] = ()
    """Where its segments are, if that was asked for."""

    @property
    def rtf(self) -> float:
        """Real-time factor, network included: elapsed seconds per second of audio."""
        return self.elapsed_seconds / self.audio_seconds if self.audio_seconds else 0.0
