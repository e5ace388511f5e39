"""Errors in the shape of OpenAI's API."""

from __future__ import annotations

from typing import Any

from server.edge.errors import OPENAI_PATH, openai_type
from server.errors import ErrorInfo

PATH = OPENAI_PATH

_PARAMS = {
    "/v1/audio/speech": {"text": "input", "format": "response_format"},
    "/v1/audio/speech/batch": {"text": "input", "format": "response_format"},
    "/v1/audio/voices": {"reference_audio": "audio_sample", "reference_text": "ref_text"},
}
"""By route: what a client calls a field that the engine or /tts calls otherwise."""


def error_object(info: ErrorInfo, route: str) -> dict[str, Any]:
    """`{"message", "type", "param", "code"}`, with the names that the fields of the route have."""
    param = _PARAMS.get(route, {}).get(info.field or "", info.field)
    message = info.message
    if param != info.field and message.startswith(f"{info.field}:"):
        message = f"{param}{message.removeprefix(info.field or '')}"
    return {"message": message, "type": openai_type(info.status), "param": param, "code": info.code}
