"""One node's HTTP API: each call goes to one node, once. What fails leaves as NodeError or ResponseError.

Knows nothing about other nodes, retries or choice.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.exceptions import HTTPError

from glmtts_client.errors import NodeError, ResponseError
from glmtts_client.node import Node

CONNECT_TIMEOUT = 2.0
RETRYABLE_STATUS = frozenset({429, 502, 503, 504})
"""Answers after which another node is asked."""
READ_TIMEOUT = 10.0
"""Seconds for an answer that takes no work."""
STREAM_IDLE_TIMEOUT = 15.0
"""Seconds without a byte after which a node is given up while it speaks."""
SECONDS_PER_CHARACTER = 0.5
"""What the slowest node may take to speak: twice as long as the speech lasts."""
POOL_SIZE = 64
CHUNK_BYTES = 8192
"""Bytes that are waited for where a proxy has taken the chunks away: a sixth of a second."""


class Api:
    """Calls to nodes over kept connections. Thread-safe.

    `discovered`: the nodes come from Consul, so requests say so, and no proxy of the environment's is used.
    """

    def __init__(self, *, api_key: str | None = None, discovered: bool = True, via_consul: bool | None = None) -> None:
        self._session = requests.Session()
        self._session.trust_env = not discovered
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _Adapter(pool_connections=POOL_SIZE, pool_maxsize=POOL_SIZE))
        self.headers = {"User-Agent": "glmtts-client"}
        if discovered if via_consul is None else via_consul:
            # Both: many proxies drop a name with an underscore.
            self.headers |= {"via_consul": "true", "X-Via-Consul": "true"}
        if api_key:
            self.headers["Authorization"] = f"Bearer {api_key}"

    def synthesize(
        self, node: Node, body: Mapping[str, Any], headers: Mapping[str, str], *, left: float
    ) -> requests.Response:
        """POST /tts: the answer, read to its end. It may take as long as its line and its text allow, or `left` s."""
        patience = body["timeout"] + READ_TIMEOUT + synthesis_timeout(body["text"])
        with self._sent(node, "POST", "/tts", headers, body, max(1.0, min(patience, left))) as answer:
            _expect_audio(node, answer)
            _ = answer.content  # reads it: what breaks off shall do so here
        return answer

    @contextmanager
    def stream(self, node: Node, body: Mapping[str, Any], headers: Mapping[str, str]) -> Iterator[requests.Response]:
        """POST /tts/stream: the answer, whose body is still to come; read it with `pieces`."""
        with self._sent(node, "POST", "/tts/stream", headers, body, body["timeout"] + STREAM_IDLE_TIMEOUT) as answer:
            _expect_audio(node, answer)
            # The wait in line is over. (No socket: the connection is not kept, and the longer patience stays.)
            if (connection := answer.raw.connection) is not None and connection.sock is not None:
                connection.sock.settimeout(STREAM_IDLE_TIMEOUT)
            yield answer

    def segments(self, node: Node, text: str, phoneme: bool | None, headers: Mapping[str, str]) -> list[str]:
        """POST /segments: the pieces of `text`, as they will be spoken."""
        body = {"text": text, "phoneme": phoneme}
        with self._sent(node, "POST", "/segments", headers, body, READ_TIMEOUT) as answer:
            found = _json(node, answer)
        try:
            return [str(segment["text"]) for segment in found["segments"]]
        except (LookupError, TypeError) as error:
            raise NodeError(node.url, "an answer without segments") from error

    def get(self, node: Node, path: str) -> dict[str, Any]:
        """A JSON answer to a GET."""
        with self._sent(node, "GET", path, {}, None, READ_TIMEOUT) as answer:
            return _json(node, answer)

    def text(self, node: Node, path: str) -> str:
        """Any answer to a GET as text."""
        with self._sent(node, "GET", path, {}, None, READ_TIMEOUT) as answer:
            return answer.text

    @contextmanager
    def _sent(
        self,
        node: Node,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: Mapping[str, Any] | None,
        patience: float,
    ) -> Iterator[requests.Response]:
        """The answer to one request, closed after the block. `patience`: the longest silence, in seconds."""
        with _map_errors(node):
            answer = self._session.request(
                method,
                node.url + path,
                headers={**self.headers, **headers},
                json=body,
                timeout=(CONNECT_TIMEOUT, patience),
                stream=True,
                allow_redirects=False,
            )
            with answer:
                _check(node, answer)
                yield answer

    def close(self) -> None:
        self._session.close()


def synthesis_timeout(text: str) -> float:
    """The most seconds that a node may reasonably take to speak `text`."""
    return SECONDS_PER_CHARACTER * len(text)


def iter_chunks(answer: requests.Response) -> Iterator[bytes]:
    """The body as it comes. To be read inside the block of `Api.stream`, which translates what goes wrong."""
    yield from answer.iter_content(CHUNK_BYTES)


def abort(answer: requests.Response) -> None:
    """Ends an answer that another thread is reading; that thread sees a broken connection."""
    with suppress(AttributeError, OSError, RuntimeError, ValueError):  # any of them: it has ended already
        answer.raw.shutdown()


class _Adapter(HTTPAdapter):
    """Sees within half a minute that a host has vanished, though nothing is being sent."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        options = [*HTTPConnection.default_socket_options, (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
        for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
            if hasattr(socket, name):  # not everywhere
                options.append((socket.IPPROTO_TCP, getattr(socket, name), value))
        super().init_poolmanager(*args, **kwargs, socket_options=options)


@contextmanager
def _map_errors(node: Node) -> Iterator[None]:
    try:
        yield
    except (requests.exceptions.InvalidHeader, requests.exceptions.InvalidJSONError) as error:
        raise ValueError(f"a request that cannot be sent: {error}") from error
    except (requests.RequestException, HTTPError, OSError, UnicodeError) as error:
        raise NodeError(node.url, f"no whole answer ({type(error).__name__})") from error


def _check(node: Node, answer: requests.Response) -> None:
    status = answer.status_code
    if status < 300:
        return
    code, message, field = _error_body(answer)
    if status in RETRYABLE_STATUS or status < 400:
        retry_after = _retry_after(answer.headers.get("Retry-After", ""))
        raise NodeError(node.url, f"{status} {code}: {message}", status=status, retry_after=retry_after)
    raise ResponseError(status, code, message, field=field, request_id=answer.headers.get("X-Request-Id"))


def _error_body(answer: requests.Response) -> tuple[str, str, str | None]:
    """Code, message and field of an error; of an answer in another form, its reason or its first characters."""
    try:
        found = json.loads(answer.content)
        if "reason" in found:
            return "not_ready", str(found["reason"]), None
        error = found["error"]
        return str(error["code"]), str(error["message"]), error.get("field")
    except (ValueError, LookupError, TypeError, AttributeError):
        return "error", " ".join(answer.text.split())[:200] or answer.reason, None


def _json(node: Node, answer: requests.Response) -> dict[str, Any]:
    try:
        found = json.loads(answer.content)
    except ValueError:
        raise NodeError(node.url, "an answer that is no JSON") from None
    if not isinstance(found, dict):
        raise NodeError(node.url, "an answer that is no object")
    return found


def _expect_audio(node: Node, answer: requests.Response) -> None:
    kind = answer.headers.get("Content-Type", "")
    if not kind.startswith("audio/"):
        raise NodeError(node.url, f"an answer of type {kind!r:.60} instead of audio")
    if not answer.headers.get("X-Sample-Rate", "").isdecimal():
        raise NodeError(node.url, "audio without X-Sample-Rate")


def _retry_after(text: str) -> float | None:
    """Seconds from now; the header may hold seconds or a date."""
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError):
        return None
