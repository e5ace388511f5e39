"""Stores and deletes voices. Any node can be asked: the nodes keep their voices the same."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import quote, urlencode

from glmtts_client.balancer import RequestHints
from glmtts_client.errors import ResponseError
from glmtts_client.node import Query
from glmtts_client.node_pool import NodePool
from glmtts_client.retry import Deadline

ENROLMENT_TIMEOUT = 60.0
"""Seconds that a node may take to make a voice."""


def add_voice(
    pool: NodePool, query: Query, name: str, reference_audio: bytes, fields: dict[str, str]
) -> dict[str, Any]:
    """POST /voices/<name>: the voice, as the server describes it. Raises ClientError."""
    body = {"reference_audio": base64.b64encode(reference_audio).decode(), **fields}
    voice = _send(pool, query, "POST", _path(name), body)
    pool.voice_misses.forget(name)
    return voice


def delete_voice(pool: NodePool, query: Query, name: str, style: str | None) -> None:
    """DELETE /voices/<name>. Raises ClientError."""
    _send(pool, query.with_voice(name), "DELETE", _path(name) + (f"?{urlencode({'style': style})}" if style else ""))


def _path(name: str) -> str:
    return f"/voices/{quote(name, safe='')}"


def _send(pool: NodePool, query: Query, method: str, path: str, body: dict[str, str] | None = None) -> dict[str, Any]:
    used: list[str] = []
    content: dict[str, Any] = {}
    for attempt in pool.retry.retrying(Deadline(pool.retry.timeout)):
        with attempt:
            node = pool.pick(query, RequestHints(0), used)
            used.append(node.url)
            try:
                with pool.track_request(node):
                    content = pool.api.send(node, method, path, body, timeout=ENROLMENT_TIMEOUT)
            except ResponseError as error:
                # An attempt whose answer was lost may have deleted it.
                if method != "DELETE" or error.status != 404 or len(used) == 1:
                    raise
    return content
