"""What a node's response says: its content, or an error."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import requests

from glmtts_client.errors import NodeError, ResponseError
from glmtts_client.node import Node
from glmtts_client.speech import Segment

RETRYABLE_STATUS = frozenset({429, 502, 503, 504})
"""Statuses after which another node is tried."""


def raise_for_status(node: Node, response: requests.Response) -> None:
    status = response.status_code
    if status < 300:
        return
    code, message, field = _error_body(response)
    if status in RETRYABLE_STATUS or status < 400:
        retry_after = _retry_after(response.headers.get("Retry-After", ""))
        raise NodeError(node.url, f"{status} {code}: {message}", status=status, retry_after=retry_after)
    raise ResponseError(status, code, message, field=field, request_id=response.headers.get("X-Request-Id"))


def _error_body(response: requests.Response) -> tuple[str, str, str | None]:
    """Code, message and field of an error response. For a foreign format, its first characters or the reason phrase."""
    try:
        content = json.loads(response.content)
        if "reason" in content:
            return "not_ready", str(content["reason"]), None
        error = content["error"]
        return str(error["code"]), str(error["message"]), error.get("field")
    except (ValueError, LookupError, TypeError, AttributeError):
        return "error", " ".join(response.text.split())[:200] or response.reason, None


def segment(values: Mapping[str, Any]) -> Segment:
    pronunciation = tuple((str(text), str(sound)) for text, sound in values.get("pronunciation", ()))
    return Segment(str(values["text"]), pronunciation)


def json_or_none(response: requests.Response) -> object:
    """The JSON value in the body; None if there is none."""
    try:
        return json.loads(response.content)
    except ValueError:
        return None


def json_object(node: Node, response: requests.Response) -> dict[str, Any]:
    try:
        content = json.loads(response.content)
    except ValueError:
        raise NodeError(node.url, "expected a JSON response, got something else") from None
    if not isinstance(content, dict):
        raise NodeError(node.url, f"expected a JSON object, got {type(content).__name__}")
    return content


def check_audio_headers(node: Node, response: requests.Response) -> None:
    content_type = response.headers.get("Content-Type", "")
    if not content_type.startswith("audio/"):
        raise NodeError(node.url, f"Content-Type: expected audio/…, got {content_type!r:.60}")
    rate = response.headers.get("X-Sample-Rate", "")
    if not rate.isdecimal():
        raise NodeError(node.url, f"X-Sample-Rate: expected a number, got {rate!r:.20}")


def _retry_after(text: str) -> float | None:
    """Seconds from now; the header holds seconds or a date. None if it holds neither."""
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError):
        return None
