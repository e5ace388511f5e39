"""Reads a request's body and validates it: first its size, then its media type, then its content.

A body that is too large is rejected before any of it is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flask import Request
from werkzeug.datastructures import FileStorage, MultiDict
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

from server.errors import ApiError, invalid_field, too_large
from server.http import schemas
from server.http.json_body import MAX_TEXT_BODY_BYTES, read_json
from server.http.large_input import LARGE, turn
from server.http.schemas import SegmentsRequest, SpeechRequest, VoiceRequest

UPLOAD = "reference_audio"
"""The only field of our own routes that may be a file."""
FIELDS = "server.fields"
"""The fields of a request that this process makes of another, in its WSGI environment, where no client can put any."""
JSON = "application/json in UTF-8"
FORM = "multipart/form-data"
JSON_OR_FORM = f"{JSON}, or {FORM}"


def parse_speech(request: Request, max_body_bytes: int, max_text_chars: int) -> SpeechRequest:
    """The body of POST /tts and /tts/stream."""
    fields, strict = _json_or_form(request, max_body_bytes)
    return schemas.validate(SpeechRequest, fields, strict=strict, max_text_chars=max_text_chars)


def parse_voice(request: Request, max_body_bytes: int) -> VoiceRequest:
    """The body of POST /voices/<name>."""
    fields, strict = _json_or_form(request, max_body_bytes)
    return schemas.validate(VoiceRequest, fields, strict=strict)


def parse_segments(request: Request, max_body_bytes: int, max_text_chars: int) -> SegmentsRequest:
    """The body of POST /segments."""
    fields = parse_json(request, min(max_body_bytes, MAX_TEXT_BODY_BYTES))
    return schemas.validate(SegmentsRequest, fields, strict=True, max_text_chars=max_text_chars)


def parse_json(request: Request, max_body_bytes: int) -> dict[str, Any]:
    """The fields of a body that can be JSON only, or of a request that this process makes."""
    if FIELDS in request.environ:
        fields: dict[str, Any] = request.environ[FIELDS]
        return fields
    request.max_content_length = max_body_bytes  # for a body without a length
    check_length(request, max_body_bytes)
    return _read_json(request, max_body_bytes, JSON)


def check_length(request: Request, max_body_bytes: int) -> None:
    """413 for a body whose announced length is over the limit."""
    if (request.content_length or 0) > max_body_bytes:
        raise too_large(max_body_bytes)


def _json_or_form(request: Request, max_body_bytes: int) -> tuple[dict[str, Any], bool]:
    """The fields of a JSON body or a form, and whether they have JSON's types."""
    check_length(request, max_body_bytes)
    if request.mimetype != FORM:
        return _read_json(request, max_body_bytes, JSON_OR_FORM), True
    return _read_form(request, max_body_bytes, UPLOAD), False


def parse_form(request: Request, max_body_bytes: int, upload: str) -> dict[str, Any]:
    """The fields of a body that can be a form only, of which `upload` may be a file."""
    check_length(request, max_body_bytes)
    if request.mimetype != FORM:
        message = f"Content-Type: expected {FORM}, got {request.content_type!r:.100}"
        raise ApiError(415, "unsupported_media_type", message)
    return _read_form(request, max_body_bytes, upload)


def _read_form(request: Request, max_body_bytes: int, upload: str) -> dict[str, Any]:
    with _read_errors(max_body_bytes), turn(request.content_length or LARGE + 1):
        form, files = request.form, request.files
    return form_fields(form, files, upload)


def form_fields(form: MultiDict[str, str], files: MultiDict[str, FileStorage], upload: str = UPLOAD) -> dict[str, Any]:
    """The fields of a multipart form: strings, and bytes for the upload. ApiError 400 if one is repeated or invalid."""
    for name in (*form, *files):
        if len(form.getlist(name)) + len(files.getlist(name)) > 1:
            raise invalid_field(name, "one value", "several")
    for name in files:
        if name != upload:
            raise invalid_field(name, f"no file except {upload}", "a file")
    for name, value in form.items():
        # The form's parser decodes invalid UTF-8 to this character.
        if "\N{REPLACEMENT CHARACTER}" in value:
            raise invalid_field(name, "UTF-8", "other bytes")
    return form.to_dict() | {name: file.read() for name, file in files.items()}


def _read_json(request: Request, max_body_bytes: int, expected: str) -> dict[str, Any]:
    """The fields of a body that is announced as JSON; else ApiError 415 with the `expected` media types."""
    charset = request.mimetype_params.get("charset", "utf-8").lower()
    if request.mimetype != "application/json" or charset not in ("utf-8", "utf8"):
        message = f"Content-Type: expected {expected}, got {request.content_type!r:.100}"
        raise ApiError(415, "unsupported_media_type", message)
    encoding = request.headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        raise ApiError(415, "unsupported_media_type", f"Content-Encoding: expected none, got {encoding!r:.50}")
    with _read_errors(max_body_bytes):
        # A chunked body announces no length.
        return read_json(request.stream, request.content_length or LARGE + 1)


@contextmanager
def _read_errors(max_body_bytes: int) -> Iterator[None]:
    """Maps errors while a body is read: 400 if the client sends less than it announced, 413 if it sends too much."""
    try:
        yield
    except (ClientDisconnected, ConnectionError):
        got = "only a part: the client disconnected or stopped sending"
        raise ApiError(400, "incomplete_body", f"body: expected the whole body, got {got}") from None
    except RequestEntityTooLarge:
        raise too_large(max_body_bytes) from None
