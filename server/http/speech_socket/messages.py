"""What a client sends on the socket. What the server sends is in `session.py` and `utterance.py`."""

from __future__ import annotations

from typing import Any, Literal

from server.errors import ApiError
from server.http.json_body import json_fields
from server.http.schemas import describe

Kind = Literal["session.config", "input.text", "input.done", "session.close"]
VERSION = 1
"""Of the messages. A client need not name it."""
KINDS: tuple[Kind, ...] = ("session.config", "input.text", "input.done", "session.close")


def parse_message(data: str | bytes) -> tuple[Kind, dict[str, Any]]:
    """The type of a message and its other fields. ApiError 400: it is not one of the four."""
    if isinstance(data, bytes):
        raise ApiError(400, "invalid_message", "message: expected text with JSON, got binary data")
    fields = json_fields(data.encode())
    kind = fields.pop("type", None)
    if kind not in KINDS:
        message = f"type: expected one of {', '.join(KINDS)}, got {describe(kind)}"
        raise ApiError(400, "invalid_message", message, field="type")
    if kind == "input.text" and not isinstance(fields.get("text"), str):
        raise ApiError(400, "invalid_message", "text: expected a string, got another value", field="text")
    if kind == "session.config" and (version := fields.pop("version", VERSION)) != VERSION:
        message = f"version: expected {VERSION}, got {describe(version)}"
        raise ApiError(400, "unsupported_version", message, field="version")
    return kind, fields
