"""The bodies of requests, as clients of OpenAI's API send them.

They send null or "" for what they don't set, fields of other servers, and numbers as strings.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BeforeValidator, ConfigDict, Field, WithJsonSchema, field_validator

from server.http.encoding import Format
from server.http.schemas import (
    MAX_CONSENT_CHARS,
    MAX_TEXT_CHARS,
    Audio,
    RequestBody,
    RequestLanguage,
    SampleRate,
    Seed,
    Speed,
    SpokenText,
    StyleName,
    Text,
    describe,
    reject,
)
from server.voices.stored_voice import VOICE_NAME

MAX_BATCH_CHARS = 20_000
LANGUAGE_NAMES = {"english": "en", "chinese": "zh"}


def _voice_name(value: object) -> object:
    """OpenAI's own clients send the voice as a string or as an object with its id."""
    if isinstance(value, dict):
        value = value.get("id")
    if value is not None and not isinstance(value, str):
        reject('a name or {"id": name}', describe(value))
    return value or None


def _language_code(value: object) -> object:
    """`Chinese`, `zh-CN` and `zh_cn` are `zh`."""
    if not isinstance(value, str):
        return value
    language = value.strip().lower().replace("_", "-").partition("-")[0]
    return LANGUAGE_NAMES.get(language, language)


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


VoiceName = Annotated[
    str | None,
    BeforeValidator(_voice_name),
    WithJsonSchema(
        {"anyOf": [{"type": "string"}, {"type": "object", "properties": {"id": {"type": "string"}}}, {"type": "null"}]}
    ),
]


class CreateSpeechRequest(RequestBody):
    """The body of POST /v1/audio/speech. Unknown fields are ignored, and so is null."""

    model_config = ConfigDict(extra="ignore", strict=False)

    input: SpokenText
    """What to say."""
    model: Any = None
    """Not used: the loaded model speaks."""
    voice: VoiceName = None
    """A stored voice, an alias, or a voice of OpenAI's, which stands for a stored one."""
    response_format: Annotated[Format, BeforeValidator(_lower)] = "mp3"
    """Of the audio."""
    speed: Speed = None
    """How fast to speak; 2.0 takes half the time."""
    instructions: str | None = None
    """A word that is a style of the voice selects it; the rest is unused."""
    stream_format: Annotated[Literal["audio", "sse"] | None, BeforeValidator(_lower)] = None
    """Bare audio or server-sent events."""
    stream: bool | None = None
    """`false` without `stream_format`: the whole file with its length, once all of it is made."""
    reference_audio: Audio | None = Field(None, validation_alias=AliasChoices("reference_audio", "ref_audio"))
    """A recording to clone, as base64 or a data: URI; it wins over `voice`."""
    reference_text: Text = Field(
        "", max_length=MAX_TEXT_CHARS, validation_alias=AliasChoices("reference_text", "ref_text")
    )
    """What is said in the recording."""
    consent: Text = Field("", max_length=MAX_CONSENT_CHARS)
    """Who agreed to the use of the recording, and how."""
    language: Annotated[RequestLanguage, BeforeValidator(_language_code)] = "auto"
    """How numbers and signs are read; `auto` by the text's letters."""
    style: StyleName = None
    """Which of the stored voice's recordings is the prompt; it wins over `instructions`."""
    seed: Seed = None
    """The same seed, request and checkpoint give the same audio; by default random."""
    sample_rate: SampleRate = None
    """Of the audio, in Hz; by default 24000 for `pcm`, else the model's."""
    phoneme: bool | None = None
    """Whether the model reads phonemes; by default as the checkpoint says."""
    word_timings: bool = False
    """Whether the events `speech.audio.timing` have the words."""

    @property
    def whole(self) -> bool:
        """Whether the audio is sent as one file, with its length in the headers, once all of it is made."""
        return self.stream is False and self.stream_format is None


class CreateVoiceRequest(RequestBody):
    """The body of POST /v1/audio/voices, a form. Unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore", strict=False)

    audio_sample: Audio
    """The recording, of 1 to 30 s."""
    name: str = Field(pattern=VOICE_NAME)
    """The voice's name."""
    consent: Text = Field(min_length=1, max_length=MAX_CONSENT_CHARS)
    """Who agreed to the use of the voice, and how."""
    ref_text: Text = Field("", max_length=MAX_TEXT_CHARS)
    """What is said in the recording."""


class BatchRequest(RequestBody):
    """The body of POST /v1/audio/speech/batch: texts, and what CreateSpeechRequest has for all of them."""

    model_config = ConfigDict(extra="allow", strict=False)

    items: list[dict[str, Any]] = Field(min_length=1, max_length=32)
    """Each has its `input`, and any other field of a request to speak; fields beside `items` hold for all."""

    @field_validator("items")
    @classmethod
    def _bounded(cls, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Bounds the audio that is in memory until the last item is done."""
        characters = sum(len(item["input"]) for item in items if isinstance(item.get("input"), str))
        if characters > MAX_BATCH_CHARS:
            reject(f"at most {MAX_BATCH_CHARS} characters in all", f"{characters} characters")
        return items


def without_empty(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields that have a value. An empty `input` stays: its error says more than that of a missing one."""
    return {name: value for name, value in fields.items() if value is not None and (value != "" or name == "input")}
