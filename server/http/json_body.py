"""A JSON object from a body, in bounded time and memory.

A value takes a hundred times the memory of its text if it is small, and parsing holds all threads. So the signs that
begin values and names are counted first: the count is a fiftieth of the work, and no body needs many. Only a recording
may be long, and it is decoded from the body as it is read, in slices; the parser gets a word that stands for it.
"""

from __future__ import annotations

import io
import re
import secrets
from typing import IO, Any

from pydantic_core import from_json

from server.errors import ApiError, invalid_field
from server.http.large_input import LARGE, slices, turn
from server.http.recording_text import EXPECTED, RecordingDecoder, RecordingTextError
from server.http.schemas import json_type

MAX_SIGNS = 2**16
"""Quotes, colons, commas and opening brackets in a body. A dozen texts of 5,000 such characters have no more."""
_SIGNS = b'":,[{'
MAX_TEXT_BODY_BYTES = 2**17
"""Of a body without a recording: two texts of 5,000 characters, each escaped in 12 bytes, and 11,000 for the rest."""
MAX_BYTES_BESIDE_RECORDINGS = 2**18
"""Of any body: 20,000 characters of a batch, each escaped in 12 bytes, and 22,000 for the rest."""
_RECORDING = re.compile(rb'"(reference_audio|ref_audio)"\s{0,16}:\s{0,16}"')
_MAX_START_BYTES = 64
"""Of what `_RECORDING` matches."""


def json_fields(body: bytes) -> dict[str, Any]:
    """`read_json` of what is in memory."""
    return read_json(io.BytesIO(body), len(body))


def read_json(stream: IO[bytes], size: int) -> dict[str, Any]:
    """The members of a JSON object; ApiError 400 for anything else, also for broken UTF-8 and any depth of nesting.

    ApiError 413 for more signs than MAX_SIGNS, and for too much beside recordings. If the object is large, the
    recordings in it are bytes. `size` is about that of the stream. Raises what reading it raises.
    """
    with turn(size):
        body = _LargeBody() if size > LARGE else _SmallBody()
        for part in slices(stream):
            body.add(part)
        return body.fields()


class _SmallBody:
    """Has everything in one place."""

    def __init__(self) -> None:
        self._text = bytearray()

    def add(self, part: bytes) -> None:
        self._text += part

    def fields(self) -> dict[str, Any]:
        _check_signs(self._text)
        return _parse(self._text)


class _LargeBody:
    """Replaces recordings by words that no client knows."""

    def __init__(self) -> None:
        self._text = bytearray()
        """All but the recordings."""
        self._searched = 0
        """Up to where no recording begins in it."""
        self._recordings: dict[str, bytes] = {}
        self._word = secrets.token_hex(16)
        self._recording: _JsonRecording | None = None

    def add(self, part: bytes) -> None:
        """Takes the next part of the body. ApiError: it cannot become valid."""
        rest: bytes | None = part
        while rest:
            rest = self._add_text(rest) if self._recording is None else self._add_recording(self._recording, rest)

    def _add_text(self, part: bytes) -> bytes | None:
        """What follows the start of a recording; None if there is none."""
        self._text += part
        start = _RECORDING.search(self._text, self._searched)
        if start is None:
            self._searched = max(self._searched, len(self._text) - _MAX_START_BYTES)
            self._check_size()
            return None
        rest = bytes(self._text[start.end() :])
        del self._text[start.end() :]
        self._check_size()
        self._recording = _JsonRecording(start[1].decode())
        return rest

    def _add_recording(self, recording: _JsonRecording, part: bytes) -> bytes | None:
        """What follows the end of the recording; None if it does not end here."""
        end = part.find(b'"')
        if end < 0:
            recording.add(part)
            return None
        word = f"{self._word}{len(self._recordings)}"
        self._recordings[word] = recording.finish(part[:end])
        self._recording = None
        self._text += word.encode()
        self._searched = len(self._text)
        return part[end:]

    def _check_size(self) -> None:
        _check_signs(self._text)
        if len(self._text) > MAX_BYTES_BESIDE_RECORDINGS:
            message = f"body: expected at most {MAX_BYTES_BESIDE_RECORDINGS} bytes beside recordings, got more"
            raise ApiError(413, "too_large", message)

    def fields(self) -> dict[str, Any]:
        """The members. ApiError: they are no JSON object."""
        return {name: self._with_recordings(value) for name, value in _parse(self._text).items()}

    def _with_recordings(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._recordings.get(value, value)
        if isinstance(value, list):
            return [self._with_recordings(item) for item in value]
        if isinstance(value, dict):
            return {name: self._with_recordings(item) for name, item in value.items()}
        return value


class _JsonRecording:
    """A recording in a JSON string, in parts, as the value of `field`. ApiError: it is none."""

    def __init__(self, field: str) -> None:
        self._field = field
        self._decoder = RecordingDecoder()
        self._rest = b""
        """The beginning of an escape."""

    def add(self, part: bytes) -> None:
        part = self._rest + part
        escape = part.rfind(b"\\", max(0, len(part) - 5))
        is_cut = escape >= 0 and len(part) - escape < (6 if part[escape + 1 : escape + 2] == b"u" else 2)
        self._rest = part[escape:] if is_cut else b""
        self._add(part[:escape] if is_cut else part)

    def finish(self, part: bytes) -> bytes:
        self._add(self._rest + part)
        try:
            return self._decoder.finish()
        except RecordingTextError as error:
            raise invalid_field(self._field, error.expected, error.got) from None

    def _add(self, part: bytes) -> None:
        try:
            self._decoder.add(from_json(b'"%s"' % part))
        except RecordingTextError as error:
            raise invalid_field(self._field, error.expected, error.got) from None
        except ValueError:  # among them an escaped quote or backslash
            raise invalid_field(self._field, EXPECTED, "a string with other signs") from None


def _check_signs(text: bytearray) -> None:
    if len(text) > MAX_SIGNS and len(text) - len(text.translate(None, _SIGNS)) > MAX_SIGNS:
        message = f"body: expected at most {MAX_SIGNS} quotes, colons, commas and opening brackets, got more"
        raise ApiError(413, "too_large", message)


def _parse(text: bytearray) -> dict[str, Any]:
    try:
        value = from_json(text, allow_inf_nan=False)
    except ValueError as error:
        message = f"body: expected a JSON object in UTF-8, got invalid JSON: {error}"
        raise ApiError(400, "malformed_json", message) from None
    if not isinstance(value, dict):
        message = f"body: expected a JSON object, got a JSON {json_type(value)}"
        raise ApiError(400, "malformed_json", message)
    return value
