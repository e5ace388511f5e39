"""Request bodies: their fields, with types, ranges and how they depend on each other."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, NoReturn, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from glmtts.engine.api import MAX_SPEED, MIN_SPEED
from server import validation
from server.errors import ApiError
from server.http import recording_text
from server.http.continuation import MAX_TOKEN_CHARS
from server.http.encoding import SAMPLE_RATES, Format
from server.http.recording_text import RecordingTextError, decode_recording
from server.voices.stored_voice import VOICE_NAME

MAX_TEXT_CHARS = 5000
MAX_CONSENT_CHARS = 1000


def reject(expected: str, got: str, field: str = "") -> NoReturn:
    """Fails the validation of a field, or, in a model's validator, of the one named."""
    raise PydanticCustomError("value", "{expected}", {"expected": expected, "got": got, "field": field})


def _no_nul(text: str) -> str:
    if "\0" in text:
        reject("text without NUL characters", "one with NUL")
    return text


def decode_audio(value: object) -> bytes:
    """Base64 or a `data:` URI to bytes; bytes, from an upload or decoded already, as they are."""
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        reject(recording_text.EXPECTED, describe(value))
    try:
        return decode_recording(value)
    except RecordingTextError as error:
        reject(error.expected, error.got)


def _within_limit(text: str, info: ValidationInfo) -> str:
    """Applies the node's limit, which may be lower than the API's."""
    limit = (info.context or {}).get("max_text_chars", MAX_TEXT_CHARS)
    if len(text) > limit:
        reject(f"at most {limit} characters", f"{len(text)} characters")
    return text


def _supported_rate(sample_rate: int | None) -> int | None:
    if sample_rate is not None and sample_rate not in SAMPLE_RATES:
        reject(f"one of {', '.join(map(str, SAMPLE_RATES))}", str(sample_rate))
    return sample_rate


RequestLanguage = Literal["auto", "en", "zh"]
Text = Annotated[str, AfterValidator(_no_nul)]
SpokenText = Annotated[Text, Field(min_length=1, max_length=MAX_TEXT_CHARS), AfterValidator(_within_limit)]
StyleName = Annotated[Text | None, Field(min_length=1, max_length=64)]
Audio = Annotated[bytes, BeforeValidator(decode_audio), WithJsonSchema({"type": "string", "contentEncoding": "base64"})]
Speed = Annotated[float | None, Field(ge=MIN_SPEED, le=MAX_SPEED)]
SampleRate = Annotated[
    int | None, AfterValidator(_supported_rate), Field(json_schema_extra={"enum": [*SAMPLE_RATES, None]})
]
Seed = Annotated[int | None, Field(ge=0, le=2**32 - 1)]


class RequestBody(BaseModel):
    """The fields of a body, whose docstrings are their descriptions in OpenAPI. Unknown fields are errors."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class TextRequest(RequestBody):
    """A text and how to read it. A text without letters has the language of `reference_text`, else of `voice`."""

    text: SpokenText
    """What to say, in Chinese, English or both; Markdown, HTML or SSML."""
    language: RequestLanguage = "auto"
    """How numbers and signs are read; `auto` by the text's letters."""
    phoneme: bool | None = None
    """Whether the model reads phonemes; by default as the checkpoint says."""
    reference_text: Text = Field("", max_length=MAX_TEXT_CHARS)
    """What is said in `reference_audio`. Without it the recording gives the timbre only."""
    voice: str | None = Field(None, pattern=VOICE_NAME)
    """The stored voice that speaks; by default the node's."""


class SegmentsRequest(TextRequest):
    """The body of POST /segments."""

    pronunciation: bool = False
    """Whether each segment has its pronunciation."""


class SpeechRequest(TextRequest):
    """The body of POST /tts and /tts/stream."""

    reference_audio: Audio | None = None
    """The recording whose voice is cloned: base64 or a data: URI in JSON, a file in a form."""
    consent: Text = Field("", max_length=MAX_CONSENT_CHARS)
    """Who agreed to the use of the recording, and how."""
    style: StyleName = None
    """Which of the stored voice's recordings is the prompt."""
    emotion: StyleName = None
    """Another name of `style`."""
    speed: Speed = None
    """How fast to speak; 2.0 takes half the time."""
    sample_rate: SampleRate = None
    """Of the audio, in Hz; by default the model's."""
    format: Format = "wav"
    """Of the audio: mono, 16 bit where it has bits."""
    seed: Seed = None
    """The same seed, request and checkpoint give the same audio; by default random."""
    segmented: bool = False
    """Whether `text` is one segment as returned by /segments."""
    continuation: str | None = Field(None, max_length=MAX_TOKEN_CHARS)
    """Goes on where an earlier response stopped."""
    history: bool = True
    """Whether earlier segments prompt later ones."""
    word_timings: bool = False
    """Whether the timing at /requests/<id> has the words."""
    timeout: float | None = Field(None, gt=0, le=600)
    """How long the request may wait in the queue, in seconds."""

    @model_validator(mode="after")
    def _consistent(self) -> SpeechRequest:
        if self.emotion is not None and self.style is not None and self.emotion != self.style:
            reject("the same value as style, whose other name it is", "another", "emotion")
        if self.reference_audio is None:
            if self.reference_text:
                reject("it together with reference_audio, or a stored voice", "it alone", "reference_text")
        elif self.voice is not None:
            reject("either voice or reference_audio", "both", "voice")
        elif self.requested_style is not None:
            reject("a style of a stored voice only", "one with reference_audio", "style")
        return self

    @property
    def requested_style(self) -> str | None:
        """The style, under either of its names."""
        return self.style if self.style is not None else self.emotion


class VoiceRequest(RequestBody):
    """The body of POST /voices/<name>."""

    reference_audio: Audio
    """The recording, of 1 to 30 s: base64 or a data: URI in JSON, a file in a form."""
    reference_text: Text = Field("", max_length=MAX_TEXT_CHARS)
    """What is said in it."""
    style: str = Field("neutral", pattern=VOICE_NAME)
    """The style that the recording stands for."""
    language: Literal["en", "zh"] | None = None
    """The language of the voice; by default that of `reference_text`."""
    consent: Text = Field("", max_length=MAX_CONSENT_CHARS)
    """Who agreed to the use of the voice, and how."""


Body = TypeVar("Body", bound=RequestBody)


def validate(model: type[Body], fields: dict[str, Any], *, strict: bool, max_text_chars: int = MAX_TEXT_CHARS) -> Body:
    """The fields of a body as a `model`; ApiError 400 names the first that is invalid.

    `strict`: numbers and booleans must have their JSON type; else they are parsed from strings, as forms need.
    """
    try:
        return model.model_validate(fields, strict=strict, context={"max_text_chars": max_text_chars})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or str(first.get("ctx", {}).get("field", ""))
        raise ApiError(400, "invalid_field", _message(model, field, first), field=field or None) from None


def _message(model: type[RequestBody], field: str, error: ErrorDetails) -> str:
    """`field: expected …, got …`. Never repeats a text, only its length."""
    if error["type"] == "missing":
        return f"{field}: expected a value, got nothing"
    if error["type"] == "extra_forbidden":
        return f"{field[:64]}: expected one of {', '.join(model.model_fields)}, got an unknown field"
    context = error.get("ctx", {})
    got = context.get("got") or context.get("actual_length") or describe(error["input"])
    return f"{field}: expected {validation.expected(error)}, got {got}"


def describe(value: object) -> str:
    """A JSON value for a message: a short one itself, else its type or length."""
    if isinstance(value, str):
        return f"{value!r}" if len(value) <= 32 and value.isprintable() else f"{len(value)} characters"
    return json.dumps(value)[:32] if isinstance(value, int | float | None) else f"a JSON {json_type(value)}"


def json_type(value: object) -> str:
    """The name of the value's JSON type."""
    names = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")
