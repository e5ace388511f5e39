"""Request bodies to validated objects: length first, then kind, then content. Knows nothing about what is asked.

A body that is too long is refused before any of it is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flask import Request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

from server.errors import ApiError, too_large
from server.http import schemas
from server.http.schemas import Body, SegmentsRequest, SpeechRequest, VoiceRequest
from server.settings import Settings


def read_speech(request: Request, settings: Settings, max_text_chars: int) -> tuple[SpeechRequest, bytes | None]:
    """The request and the reference recording that it brought, if any."""
    asked, recording = _read(SpeechRequest, request, settings, "reference_audio")
    _check_text(asked, max_text_chars)
    if asked.reference_audio is not None and recording is None:
        recording = schemas.decode_recording(asked.reference_audio, "reference_audio")
    _check_reference(asked, recording)
    return asked, recording


def read_voice(request: Request, settings: Settings) -> tuple[VoiceRequest, bytes]:
    """The body of POST /voices/<name> and the recording in it."""
    asked, recording = _read(VoiceRequest, request, settings, "reference_audio")
    if recording is None and asked.reference_audio is not None:
        recording = schemas.decode_recording(asked.reference_audio, "reference_audio")
    if recording is None:
        message = "reference_audio: expected a recording, got nothing"
        raise ApiError(400, "invalid_field", message, field="reference_audio")
    return asked, recording


def read_segments(request: Request, settings: Settings, max_text_chars: int) -> SegmentsRequest:
    """The body of POST /segments."""
    check_length(request, settings)
    asked = schemas.from_json_body(SegmentsRequest, _json_bytes(request, settings, "application/json in UTF-8"))
    _check_text(asked, max_text_chars)
    return asked


def _read(kind: type[Body], request: Request, settings: Settings, upload: str) -> tuple[Body, bytes | None]:
    """A JSON body, or a form of which `upload` may be a file."""
    check_length(request, settings)
    if request.mimetype == "multipart/form-data":
        with _coming(settings):
            form, files = request.form, request.files
        return schemas.from_form(kind, form, files, upload)
    want = "application/json in UTF-8, or multipart/form-data"
    return schemas.from_json_body(kind, _json_bytes(request, settings, want)), None


def check_length(request: Request, settings: Settings) -> None:
    """413 for a body that says it is over the limit."""
    if (request.content_length or 0) > settings.max_body_bytes:
        raise too_large(settings.max_body_bytes)


@contextmanager
def _coming(settings: Settings) -> Iterator[None]:
    """A body that does not come as announced is its sender's fault; what is too much is told with the limit."""
    try:
        yield
    except (ClientDisconnected, ParseException) as error:
        what = str(error) if isinstance(error, ParseException) else "it ended, or stopped coming, before its end"
        raise ApiError(400, "incomplete_body", f"the body did not come whole: {what}") from None
    except RequestEntityTooLarge:
        raise too_large(settings.max_body_bytes) from None


def _json_bytes(request: Request, settings: Settings, want: str) -> bytes:
    charset = request.mimetype_params.get("charset", "utf-8").lower()
    if request.mimetype != "application/json" or charset not in ("utf-8", "utf8"):
        raise ApiError(
            415,
            "unsupported_media_type",
            f"Content-Type: came {request.content_type!r:.100}; want {want}",
        )
    encoding = request.headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        raise ApiError(415, "unsupported_media_type", f"Content-Encoding: came {encoding!r:.50}; want none")
    with _coming(settings):
        body = request.get_data(cache=False)
    if len(body) >= settings.max_body_bytes and request.content_length is None:
        # A chunked body says no length: Flask reads up to the limit, and then stops without a word.
        raise too_large(settings.max_body_bytes)
    return body


def _check_text(asked: SegmentsRequest, max_text_chars: int) -> None:
    if len(asked.text) > max_text_chars:
        raise ApiError(
            400,
            "invalid_field",
            f"text: came {len(asked.text)} characters; want at most {max_text_chars}",
            field="text",
        )


def _check_reference(asked: SpeechRequest, recording: bytes | None) -> None:
    if recording is None:
        if asked.reference_text:
            _conflict("reference_text", "without reference_audio", "both, or a stored voice")
        return
    if asked.voice is not None:
        _conflict("voice", "together with reference_audio", "one of the two")
    if asked.recording_style is not None:
        _conflict("style", "together with reference_audio", "a style only with a stored voice")


def _conflict(field: str, came: str, want: str) -> None:
    raise ApiError(400, "invalid_field", f"{field}: came {came}; want {want}", field=field)
