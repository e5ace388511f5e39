"""From exceptions to HTTP: one total map, one JSON body. Knows nothing about routes or about what went wrong inside.

The body of every error is `{"error": {"code", "message", "field"}}`. Of our own faults it tells nothing.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

from flask import Flask, Response, g, jsonify
from werkzeug.exceptions import HTTPException, MethodNotAllowed, RequestEntityTooLarge

from glmtts import errors

log = logging.getLogger(__name__)


MAX_PARTS = 64
"""Fields and files of one form."""


class ApiError(Exception):
    """A refusal by the HTTP layer itself. `retry_after` (s) becomes the header of that name."""

    def __init__(
        self, status: int, code: str, message: str, *, field: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.field = field
        self.retry_after = retry_after


STATUS: dict[type[errors.GlmTtsError], tuple[int, str]] = {
    errors.GlmTtsError: (500, "internal"),
    errors.InputError: (400, "invalid_input"),
    errors.TextError: (400, "invalid_text"),
    errors.AudioError: (400, "invalid_audio"),
    errors.AudioDecodeError: (422, "undecodable_audio"),
    errors.UnsupportedError: (400, "unsupported"),
    errors.CheckpointError: (500, "internal"),
    errors.QueueFullError: (429, "busy"),
    errors.QueueTimeoutError: (503, "queue_timeout"),
    errors.CancelledError: (499, "cancelled"),  # nobody reads it; it is for the log
    errors.DeviceMemoryError: (507, "device_memory"),
    errors.EngineError: (500, "internal"),
}
"""Every error of glmtts to its status and code; a test walks the tree so that none is missing."""


@dataclass(frozen=True)
class Refusal:
    """What an exception becomes on the wire."""

    status: int
    code: str
    message: str
    field: str | None = None
    retry_after: float | None = None


def refusal(error: BaseException) -> Refusal:
    """The refusal for any exception; what is not on purpose is a 500 without particulars."""
    if isinstance(error, ApiError):
        return Refusal(error.status, error.code, str(error), error.field, error.retry_after)
    if isinstance(error, errors.GlmTtsError):
        status, code = next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
        if status == 500:
            return _internal()
        retry = error.retry_after if isinstance(error, errors.QueueFullError) else 5.0 if status == 503 else None
        return Refusal(status, code, str(error), getattr(error, "field", None), retry)
    if isinstance(error, HTTPException):
        return _of_werkzeug(error)
    return _internal()


def _internal() -> Refusal:
    return Refusal(500, "internal", "a fault of the server's; the request id finds it in its log")


def _of_werkzeug(error: HTTPException) -> Refusal:
    status = error.code or 500
    if status >= 500:
        return _internal()
    if isinstance(error, MethodNotAllowed):
        return Refusal(status, "method_not_allowed", f"method: want {_methods(error)}")
    if status == 404:
        return Refusal(status, "not_found", "there is nothing at this path")
    if status == 413:
        return Refusal(status, "too_large", error.description or error.name)
    return Refusal(status, "bad_request", error.description or error.name)


def _methods(error: MethodNotAllowed) -> str:
    return ", ".join(sorted(error.valid_methods or ()))


def answer(error: BaseException) -> Response:
    """The response for an exception, headers included; notes the code for the request's log line."""
    what = refusal(error)
    if what.status == 500:
        log.error("request %s failed", g.record.request_id, exc_info=error)
    g.record.error = what.code
    response = jsonify(error={"code": what.code, "message": what.message, "field": what.field})
    response.status_code = what.status
    if what.retry_after is not None:
        response.headers["Retry-After"] = str(max(1, math.ceil(what.retry_after)))
    if isinstance(error, MethodNotAllowed):
        response.headers["Allow"] = _methods(error)
    if what.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def too_large(limit: int) -> RequestEntityTooLarge:
    """The refusal of a body over `limit` bytes."""
    return RequestEntityTooLarge(
        f"the request body is over {limit} bytes, or a form of over {MAX_PARTS} parts; want at most so many"
    )


def install(app: Flask) -> None:
    """Every exception of every route goes through the one map."""
    app.register_error_handler(Exception, answer)
