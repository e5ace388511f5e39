"""Errors that the edge answers itself, in the formats of server.errors, which needs Flask, and of OpenAI's API."""

from __future__ import annotations

import json
import logging
import uuid
from dataclasses import dataclass, field
from http import HTTPStatus

log = logging.getLogger(__name__)

OPENAI_PATH = "/v1"
"""Errors of it and of all paths below it have the shape of OpenAI's API, also of paths that no route has."""

JSON_HEADERS = ((b"content-type", b"application/json"), (b"x-content-type-options", b"nosniff"))


@dataclass(eq=False)
class EdgeError(Exception):
    """A request that is refused before the application sees it; `retry_after` is in seconds."""

    status: int
    code: str
    message: str
    retry_after: int | None = None
    path: str = ""
    """The request's, if it is known."""
    request_id: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The response's headers. The connection can't be used for another request."""
        headers = [*JSON_HEADERS, (b"connection", b"close"), (b"x-request-id", self.request_id.encode())]
        headers.append((b"content-length", b"%d" % len(self.body)))
        if self.retry_after is not None:
            headers.append((b"retry-after", b"%d" % self.retry_after))
        return headers

    @property
    def body(self) -> bytes:
        named: dict[str, str | None] = {"field": None}
        if f"{self.path}/".startswith(f"{OPENAI_PATH}/"):
            named = {"type": openai_type(self.status), "param": None}
        return json.dumps({"error": {"code": self.code, "message": self.message, **named}}).encode()

    def as_bytes(self) -> bytes:
        """The whole response, for a connection on which no HTTP can be spoken any more."""
        lines = [b"HTTP/1.1 %d %s" % (self.status, HTTPStatus(self.status).phrase.encode())]
        lines += [name + b": " + value for name, value in self.headers]
        return b"\r\n".join(lines) + b"\r\n\r\n" + self.body

    def log(self) -> None:
        """Logs it without what was received: after a wrong length that is part of a body."""
        log.warning("request %s is refused: %s", self.request_id, self.code)


def openai_type(status: int) -> str:
    """What OpenAI's API calls the kind of an error."""
    types = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
    return types.get(status) or ("server_error" if status >= 500 else "invalid_request_error")


def malformed(status: int, reason: object) -> EdgeError:
    """The error for what is not HTTP that this server reads."""
    return EdgeError(status, "malformed_http", f"malformed HTTP: {reason}"[:300])
