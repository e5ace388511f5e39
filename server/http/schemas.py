"""What a speech request may say: the fields, their ranges, and how JSON and forms become one frozen object.

Every refusal names the field, what came and what is wanted. Knows nothing about which voices exist.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError, from_json
from werkzeug.datastructures import FileStorage, MultiDict

from server.errors import ApiError
from server.http.continuation import LONGEST
from server.http.encoding import SAMPLE_RATES, Format
from server.voices.store import VOICE_NAME

MAX_TEXT_CHARS = 5000


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise PydanticCustomError("nul", "text without NUL characters")
    return text


Text = Annotated[str, AfterValidator(_no_nul)]


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class SegmentsRequest(_Body):
    """The body of POST /segments."""

    text: Text = Field(min_length=1, max_length=MAX_TEXT_CHARS)
    phoneme: bool | None = None


class SpeechRequest(SegmentsRequest):
    """The body of POST /tts and /tts/stream. `reference_audio` is base64 here and bytes in `recording`.

    `segmented`: the text is one segment as /segments gave it. `continuation`: what was spoken before it.
    """

    reference_audio: str | None = None
    reference_text: Text = Field("", max_length=MAX_TEXT_CHARS)
    voice: str | None = Field(None, pattern=VOICE_NAME)
    style: Text | None = Field(None, min_length=1, max_length=64)
    emotion: Text | None = Field(None, min_length=1, max_length=64)
    speed: float | None = Field(None, ge=0.5, le=2.0)
    sample_rate: int | None = None
    format: Format = "wav"
    seed: int | None = Field(None, ge=0, le=2**32 - 1)
    segmented: bool = False
    continuation: str | None = Field(None, max_length=LONGEST)
    history: bool = True
    timeout: float | None = Field(None, gt=0, le=600)

    @model_validator(mode="after")
    def _consistent(self) -> SpeechRequest:
        if self.sample_rate is not None and self.sample_rate not in SAMPLE_RATES:
            _refuse("sample_rate", str(self.sample_rate), f"one of {', '.join(map(str, SAMPLE_RATES))}")
        if self.emotion is not None and self.style is not None and self.emotion != self.style:
            _refuse("emotion", "another value than style", "one of the two: they are the same thing")
        return self

    @property
    def recording_style(self) -> str | None:
        """The wished style, by whichever name it came."""
        return self.style if self.style is not None else self.emotion


class VoiceRequest(_Body):
    """The body of POST /voices/<name>. `reference_audio` is base64 in JSON, and a file in a form."""

    style: str = Field("neutral", pattern=VOICE_NAME)
    reference_audio: str | None = None
    reference_text: Text = Field("", max_length=MAX_TEXT_CHARS)
    language: str | None = Field(None, pattern="^[a-z]{2}$")


Body = TypeVar("Body", bound=_Body)


def from_json_body(kind: type[Body], body: bytes) -> Body:
    """Validates a JSON body; ApiError 400 otherwise. No depth of nesting or broken UTF-8 does harm."""
    try:
        value = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise ApiError(400, "malformed_json", f"the body is no JSON: {error}; want one object in UTF-8") from None
    if not isinstance(value, dict):
        raise ApiError(400, "malformed_json", f"the body is a JSON {_kind(value)}; want an object")
    return _validate(kind, value, strict=True)


def from_form(
    kind: type[Body], form: MultiDict[str, str], files: MultiDict[str, FileStorage], upload: str
) -> tuple[Body, bytes | None]:
    """Validates a multipart body; of its fields `upload` alone may be a file, whose bytes come beside the object.

    The others are text, so numbers and switches are read from text.
    """
    for name in (*form, *files):
        if len(form.getlist(name)) + len(files.getlist(name)) > 1:
            raise ApiError(400, "invalid_field", f"{name}: came more than once; want it once", field=name)
    for name in files:
        if name != upload:
            raise ApiError(400, "invalid_field", f"{name}: came as a file; want {upload} only", field=name)
    for name, value in form.items():
        # What the form's reader puts for bytes that are no UTF-8.
        if "\N{REPLACEMENT CHARACTER}" in value:
            raise ApiError(400, "invalid_field", f"{name}: came no UTF-8; want UTF-8", field=name)
    file = files.get(upload)
    recording = None if file is None else file.read()
    return _validate(kind, form.to_dict(), strict=False), recording


def decode_recording(encoded: str, field: str) -> bytes:
    """Base64 or a `data:` URI to bytes. Addresses and paths are refused: nothing is fetched on a caller's behalf."""
    head, comma, rest = encoded.partition(",")
    if comma and head.startswith("data:"):
        if not head.endswith(";base64"):
            raise ApiError(400, "invalid_field", f"{field}: came a data: URI not in base64; want ;base64", field=field)
        encoded = rest
    elif "://" in encoded[:16]:
        raise ApiError(400, "invalid_field", f"{field}: came an address; want the recording itself", field=field)
    try:
        return base64.b64decode("".join(encoded.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ApiError(
            400,
            "invalid_field",
            f"{field}: came no base64 ({error}); want base64, a data: URI or an upload",
            field=field,
        ) from None


def _validate(kind: type[Body], value: dict[str, Any], *, strict: bool) -> Body:
    try:
        return kind.model_validate(value, strict=strict)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or str(first.get("ctx", {}).get("field", ""))
        raise ApiError(400, "invalid_field", _message(kind, field, first), field=field or None) from None


def _message(kind: type[_Body], field: str, error: ErrorDetails) -> str:
    """`field: came X; want Y`. The text itself is never repeated, only its length."""
    if error["type"] == "missing":
        return f"{field}: came nothing; it is required"
    if error["type"] == "extra_forbidden":
        return f"{field[:64]}: there is no such field; want {', '.join(kind.model_fields)}"
    ctx = error.get("ctx", {})
    came = ctx.get("came") or _shown(error["input"])
    want = error["msg"].removeprefix("Input should be ").removeprefix("String should ")
    return f"{field}: came {came}; want {want}"


def _shown(value: object) -> str:
    if isinstance(value, str):
        return f"{value!r}" if len(value) <= 32 and value.isprintable() else f"{len(value)} characters"
    return json.dumps(value) if isinstance(value, int | float | None) else f"a JSON {_kind(value)}"


def _kind(value: object) -> str:
    names = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")


def _refuse(field: str, came: str, want: str) -> None:
    raise PydanticCustomError("value", "{want}", {"field": field, "came": came, "want": want})
