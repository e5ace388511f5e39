"""Maps exceptions to HTTP responses: one total map, one JSON shape.

The body of every error is `{"error": {"code", "message", "field"}}`, unless the API of a path has a shape of its own.
A 500 reveals nothing about its cause.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from flask import Flask, Response, g, jsonify, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, RequestEntityTooLarge

from glmtts import errors

log = logging.getLogger(__name__)

MAX_MESSAGE_BYTES, MAX_FIELD_CHARS = 1024, 64
"""Of an error: names of fields and of voices come from clients, and a client may not expect a long answer."""
MAX_FORM_PARTS = 64
"""Maximum number of fields and files in a form."""


class ApiError(Exception):
    """An error of the HTTP layer itself. `retry_after`, in seconds, becomes the `Retry-After` header."""

    def __init__(
        self, status: int, code: str, message: str, *, field: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.field = field
        self.retry_after = retry_after


def invalid_field(field: str, expected: str, got: str) -> ApiError:
    """The 400 for a request field with an invalid value."""
    return ApiError(400, "invalid_field", f"{field}: expected {expected}, got {got}", field=field)


STATUS_BY_ERROR: dict[type[errors.GlmTtsError], tuple[int, str]] = {
    errors.GlmTtsError: (500, "internal"),
    errors.InputError: (400, "invalid_input"),
    errors.TextError: (400, "invalid_text"),
    errors.LanguageError: (400, "unsupported_language"),
    errors.AudioError: (400, "invalid_audio"),
    errors.AudioDecodeError: (422, "undecodable_audio"),
    errors.UnsupportedError: (400, "unsupported"),
    errors.CheckpointError: (500, "internal"),
    errors.QueueFullError: (429, "busy"),
    errors.QueueTimeoutError: (503, "queue_timeout"),
    errors.CancelledError: (499, "cancelled"),  # the client is gone: this is for the log only
    errors.DeviceMemoryError: (507, "device_memory"),
    errors.EngineError: (500, "internal"),
}
"""Status and code of every error in glmtts; a test walks the class tree so that none is missing."""


@dataclass(frozen=True)
class ErrorInfo:
    """What a client is told about an exception."""

    status: int
    code: str
    message: str
    field: str | None = None
    retry_after: float | None = None


def to_error_info(error: BaseException) -> ErrorInfo:
    """Describes any exception, in bounded length; one that is not expected here is a 500 without details."""
    info = _describe(error)
    return replace(info, message=_clipped(info.message), field=info.field and info.field[:MAX_FIELD_CHARS])


def _clipped(message: str) -> str:
    """`message`, or as much of its beginning as keeps MAX_MESSAGE_BYTES in JSON, which escapes a character in 12."""
    clipped = message[:MAX_MESSAGE_BYTES]
    while len(json.dumps(clipped)) > MAX_MESSAGE_BYTES:
        clipped = clipped[: len(clipped) * 3 // 4]
    return message if clipped == message else f"{clipped}..."


def _describe(error: BaseException) -> ErrorInfo:
    if isinstance(error, ApiError):
        return ErrorInfo(error.status, error.code, str(error), error.field, error.retry_after)
    if isinstance(error, errors.GlmTtsError):
        status, code = next(STATUS_BY_ERROR[kind] for kind in type(error).__mro__ if kind in STATUS_BY_ERROR)
        if status == 500:
            return _internal()
        retry = error.retry_after if isinstance(error, errors.QueueFullError) else 5.0 if status == 503 else None
        return ErrorInfo(status, code, str(error), getattr(error, "field", None), retry)
    if isinstance(error, HTTPException):
        return _from_werkzeug(error)
    return _internal()


def _internal() -> ErrorInfo:
    return ErrorInfo(500, "internal", "internal server error; the server's log has it under this request's id")


def _from_werkzeug(error: HTTPException) -> ErrorInfo:
    status = error.code or 500
    if status >= 500:
        return _internal()
    if isinstance(error, MethodNotAllowed):
        return ErrorInfo(status, "method_not_allowed", f"method: expected {_methods(error)}, got another")
    if status == 404:
        return ErrorInfo(status, "not_found", "path: expected one of the API's, got another")
    if status == 413:
        return ErrorInfo(status, "too_large", error.description or error.name)
    return ErrorInfo(status, "bad_request", error.description or error.name)


def _methods(error: MethodNotAllowed) -> str:
    return ", ".join(sorted(error.valid_methods or ()))


ErrorShape = Callable[[ErrorInfo, str], dict[str, Any]]
"""What stands under `error` in the body, given the route's rule."""


def _error_object(info: ErrorInfo, _route: str) -> dict[str, Any]:
    return {"code": info.code, "message": info.message, "field": info.field}


def to_response(shapes: Mapping[str, ErrorShape], error: BaseException) -> Response:
    """The response for an exception, headers included. Sets the code in the request's record.

    `shapes` has the shapes of errors of a path and of those below it.
    """
    info = to_error_info(error)
    if info.status == 500:
        log.error("request %s failed", g.record.request_id, exc_info=error)
    g.record.error = info.code
    path = f"{request.path}/"
    shape = next((shape for prefix, shape in shapes.items() if path.startswith(f"{prefix}/")), _error_object)
    response = jsonify(error=shape(info, g.record.route))
    response.status_code = info.status
    if info.retry_after is None:
        # Some client libraries repeat a request after any 409 or 5xx, and a device would do its work again.
        response.headers["X-Should-Retry"] = "false"
    else:
        response.headers["Retry-After"] = str(max(1, math.ceil(info.retry_after)))
    if isinstance(error, MethodNotAllowed):
        response.headers["Allow"] = _methods(error)
    if info.status == 426:
        response.headers["Upgrade"] = "websocket"
    if info.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def too_large(max_body_bytes: int) -> RequestEntityTooLarge:
    """The 413 for a body over `max_body_bytes`, or a form of too many parts."""
    return RequestEntityTooLarge(
        f"body: expected at most {max_body_bytes} bytes, and at most {MAX_FORM_PARTS} parts in a form, got more"
    )


def register_error_handlers(app: Flask, shapes: Mapping[str, ErrorShape]) -> None:
    """Sends every exception of every route through the one map; `shapes` as of `to_response`."""
    app.register_error_handler(Exception, partial(to_response, shapes))
