"""Errors in the shape of OpenAI's API."""

from __future__ import annotations

from typing import Any

from server.errors import ErrorInfo

PATH = "/v1/"
"""Errors of all paths below it have this shape, also of paths that no route has."""

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_PARAMS = {
    "/v1/audio/speech": {"text": "input", "format": "response_format"},
    "/v1/audio/speech/batch": {"text": "input", "format": "response_format"},
    "/v1/audio/voices": {"reference_audio": "audio_sample", "reference_text": "ref_text"},
}
"""By route: what a client calls a field that the engine or /tts calls otherwise."""


def error_object(info: ErrorInfo, route: str) -> dict[str, Any]:
    """`{"message", "type", "param", "code"}`, with the names that the fields of the route have."""
    kind = _TYPES.get(info.status) or ("server_error" if info.status >= 500 else "invalid_request_error")
    param = _PARAMS.get(route, {}).get(info.field or "", info.field)
    message = info.message
    if param != info.field and message.startswith(f"{info.field}:"):
        message = f"{param}{message.removeprefix(info.field or '')}"
    return {"message": message, "type": kind, "param": param, "code": info.code}
