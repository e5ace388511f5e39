"""One node's HTTP API. Each method sends one request to one node and raises NodeError or ResponseError on failure."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.exceptions import HTTPError

from glmtts_client.errors import NodeError, ResponseError, TextTooLongError, VoiceNotFoundError
from glmtts_client.liveness import PROBE_TIMEOUT, Answer, Liveness
from glmtts_client.node import Node
from glmtts_client.speech import Segment
from glmtts_client.version import RELEASE
from glmtts_client.watched_connection import POOL_CLASSES, watching

CONNECT_TIMEOUT = 1.0
READ_TIMEOUT = 10.0
"""Seconds, for requests that involve no synthesis."""
STREAM_IDLE_TIMEOUT = 15.0
"""Seconds without data after which a streaming node counts as failed, though it says that it is alive."""
SECONDS_PER_CHARACTER = 0.5
"""Upper bound on synthesis time, for the slowest node: twice real time."""
RETRYABLE_STATUS = frozenset({429, 502, 503, 504})
"""Statuses after which another node is tried."""
POOL_SIZE = 64
CHUNK_BYTES = 8192
"""Read size where a proxy has removed the chunked encoding: a sixth of a second of audio."""


class Api:
    """Sends requests to nodes over pooled connections. Thread-safe.

    `discovered`: the nodes come from Consul: requests carry `via_consul`, and the environment's proxy is not used.
    `ca`: file of the CA certificates that signed those of the nodes; None: well-known ones.
    While a request waits, `liveness` asks its node whether it is alive: a dead one fails within two seconds.
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        discovered: bool = True,
        via_consul: bool | None = None,
        ca: str | None = None,
    ) -> None:
        self._session = requests.Session()
        self.uses_proxy = self._session.trust_env = not discovered
        self.ca = ca
        self._session.verify = ca or True
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _KeepAliveAdapter(pool_connections=POOL_SIZE, pool_maxsize=POOL_SIZE))
        self.headers = {"User-Agent": f"glmtts-client/{RELEASE}"}
        if discovered if via_consul is None else via_consul:
            # Both spellings: many proxies drop header names with an underscore.
            self.headers |= {"via_consul": "true", "X-Via-Consul": "true"}
        if api_key:
            self.headers["Authorization"] = f"Bearer {api_key}"
        self.liveness = Liveness(self._ask)

    def synthesize(
        self, node: Node, body: Mapping[str, Any], headers: Mapping[str, str], *, timeout: float
    ) -> requests.Response:
        """POST /tts: the complete response.

        Waits as long as the queue and the text justify, at most `timeout` seconds (but at least one). Raises
        TextTooLongError too.
        """
        expected_seconds = body["timeout"] + READ_TIMEOUT + synthesis_timeout(body["text"])
        read_timeout = max(1.0, min(expected_seconds, timeout))
        with (
            self._length_errors(node, body["text"]),
            _voice_errors(node, body.get("voice")),
            self._request(node, "POST", "/tts", headers, body, read_timeout) as response,
        ):
            _check_audio_headers(node, response)
            _ = response.content  # read it here, where a broken connection is mapped to NodeError
        return response

    @contextmanager
    def stream(self, node: Node, body: Mapping[str, Any], headers: Mapping[str, str]) -> Iterator[requests.Response]:
        """POST /tts/stream: a response whose body is read with `iter_chunks`."""
        timeout = body["timeout"] + STREAM_IDLE_TIMEOUT
        with (
            _voice_errors(node, body.get("voice")),
            self._request(node, "POST", "/tts/stream", headers, body, timeout) as response,
        ):
            _check_audio_headers(node, response)
            # The request has left the queue: shorten the timeout. (Without keep-alive there is no socket to set it on.)
            if (connection := response.raw.connection) is not None and connection.sock is not None:
                connection.sock.settimeout(STREAM_IDLE_TIMEOUT)
            yield response

    def segments(self, node: Node, body: Mapping[str, Any], headers: Mapping[str, str]) -> list[Segment]:
        """POST /segments: the segments in which the server would speak a text. Raises TextTooLongError too."""
        with (
            self._length_errors(node, body["text"]),
            _voice_errors(node, body.get("voice")),
            self._request(node, "POST", "/segments", headers, body, READ_TIMEOUT) as response,
        ):
            content = _json(node, response)
        try:
            return [_segment(segment) for segment in content["segments"]]
        except (LookupError, TypeError, ValueError) as error:
            raise NodeError(node.url, "expected a response with segments, got none") from error

    @contextmanager
    def _length_errors(self, node: Node, text: str) -> Iterator[None]:
        """Raises TextTooLongError for the error that says so, with the node's limit from /info."""
        try:
            yield
        except ResponseError as error:
            if (error.code, error.field) != ("invalid_field", "text"):
                raise
            limit = self.get(node, "/info").get("limits", {}).get("max_text_chars")
            if not isinstance(limit, int) or not 0 < limit < len(text):
                raise
            raise TextTooLongError(str(error), limit=limit) from error

    def voice(self, node: Node, name: str) -> dict[str, Any]:
        """GET /voices/<name>. Raises VoiceNotFoundError too."""
        with _voice_errors(node, name):
            return self.get(node, f"/voices/{quote(name, safe='')}")

    def get(self, node: Node, path: str) -> dict[str, Any]:
        """GET a JSON object."""
        with self._request(node, "GET", path, {}, None, READ_TIMEOUT) as response:
            return _json(node, response)

    def send(
        self, node: Node, method: str, path: str, body: Mapping[str, Any] | None, *, timeout: float
    ) -> dict[str, Any]:
        """POST or DELETE: the JSON object in the response; {} if it has no body."""
        with self._request(node, method, path, {}, body, timeout) as response:
            return {} if response.status_code == 204 else _json(node, response)

    def get_text(self, node: Node, path: str) -> str:
        """GET a response as text."""
        with self._request(node, "GET", path, {}, None, READ_TIMEOUT) as response:
            return response.text

    @contextmanager
    def _request(
        self,
        node: Node,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: Mapping[str, Any] | None,
        read_timeout: float,
    ) -> Iterator[requests.Response]:
        """The response to one request; closed after the block. `read_timeout`: seconds without data."""
        with _map_errors(node), watching(_NodeWatch(self.liveness, node.url)):
            response = self._session.request(
                method,
                node.url + path,
                headers={**self.headers, **headers},
                json=body,
                timeout=(CONNECT_TIMEOUT, read_timeout),
                stream=True,
                allow_redirects=False,
            )
            with response:
                _raise_for_status(node, response)
                yield response

    def _ask(self, url: str) -> Answer:
        """What the node at `url` says of itself within PROBE_TIMEOUT. Any response is a sign of life."""
        timeout = (PROBE_TIMEOUT, PROBE_TIMEOUT)
        try:
            with self._session.get(
                url + "/ready", headers=self.headers, timeout=timeout, allow_redirects=False
            ) as response:
                return Answer("", ready=response.status_code < 500)
        except (requests.RequestException, HTTPError, OSError) as error:
            return Answer(f"no sign of life ({type(error).__name__})", ready=False)

    def close(self) -> None:
        self.liveness.close()
        self._session.close()


class _NodeWatch:
    """See `Watch`: of one request to a node."""

    def __init__(self, liveness: Liveness, url: str) -> None:
        self._liveness, self._url = liveness, url

    def on_data(self) -> None:
        self._liveness.heard(self._url)

    def on_wait(self, since: float) -> float:
        return self._liveness.check(self._url, since)


def synthesis_timeout(text: str) -> float:
    """The longest time in seconds that a working node takes to speak `text`."""
    return SECONDS_PER_CHARACTER * len(text)


def iter_chunks(response: requests.Response) -> Iterator[bytes]:
    """The body as it arrives. Call it inside the block of `Api.stream`, which maps errors to NodeError."""
    yield from response.iter_content(CHUNK_BYTES)


def abort(response: requests.Response) -> None:
    """Ends a response that another thread is reading; that thread sees a broken connection."""
    with suppress(AttributeError, OSError, RuntimeError, ValueError):  # each means that it has already ended
        response.raw.shutdown()


class _KeepAliveAdapter(HTTPAdapter):
    """Detects within 25 seconds that a host is gone, even if nothing is being sent, by TCP keep-alive probes."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        options = [*HTTPConnection.default_socket_options, (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
        for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
            if hasattr(socket, name):  # not on every platform
                options.append((socket.IPPROTO_TCP, getattr(socket, name), value))
        super().init_poolmanager(*args, **kwargs, socket_options=options)
        self.poolmanager.pool_classes_by_scheme = POOL_CLASSES


@contextmanager
def _voice_errors(node: Node, voice: str | None) -> Iterator[None]:
    """Raises VoiceNotFoundError for the error that says so."""
    try:
        yield
    except ResponseError as error:
        if error.code != "unknown_voice" or voice is None:
            raise
        raise VoiceNotFoundError(node.url, voice, error) from error


@contextmanager
def _map_errors(node: Node) -> Iterator[None]:
    try:
        yield
    except (requests.exceptions.InvalidHeader, requests.exceptions.InvalidJSONError) as error:
        raise ValueError(f"the request cannot be sent: {error}") from error
    except (requests.RequestException, HTTPError, OSError, UnicodeError) as error:
        raise NodeError(node.url, f"no complete response ({type(error).__name__})") from error


def _raise_for_status(node: Node, response: requests.Response) -> None:
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


def _segment(values: Mapping[str, Any]) -> Segment:
    pronunciation = tuple((str(text), str(sound)) for text, sound in values.get("pronunciation", ()))
    return Segment(str(values["text"]), pronunciation)


def _json(node: Node, response: requests.Response) -> dict[str, Any]:
    try:
        content = json.loads(response.content)
    except ValueError:
        raise NodeError(node.url, "expected a JSON response, got something else") from None
    if not isinstance(content, dict):
        raise NodeError(node.url, f"expected a JSON object, got {type(content).__name__}")
    return content


def _check_audio_headers(node: Node, response: requests.Response) -> None:
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
