"""One node's HTTP API. Each method sends one request to one node and raises NodeError or ResponseError on failure."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import quote

import requests
from urllib3.exceptions import HTTPError

from glmtts_client import responses
from glmtts_client.deadlines import idle_timeout, read_progress
from glmtts_client.errors import NodeError, ResponseError, TextTooLongError, VoiceNotFoundError
from glmtts_client.hedging import OnWait
from glmtts_client.liveness import PROBE_TIMEOUT, Answer, Liveness
from glmtts_client.node import Node
from glmtts_client.speech import Segment
from glmtts_client.version import RELEASE
from glmtts_client.watched_connection import KeepAliveAdapter, watching

CONNECT_TIMEOUT = 1.0
READ_TIMEOUT = 10.0
"""Seconds, for requests that involve no synthesis."""
SECONDS_PER_CHARACTER = 0.5
"""Upper bound on synthesis time, for the slowest node: twice real time."""
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
            self._session.mount(scheme, KeepAliveAdapter(pool_connections=POOL_SIZE, pool_maxsize=POOL_SIZE))
        self.headers = {"User-Agent": f"glmtts-client/{RELEASE}"}
        if discovered if via_consul is None else via_consul:
            # Both spellings: many proxies drop header names with an underscore.
            self.headers |= {"via_consul": "true", "X-Via-Consul": "true"}
        if api_key:
            self.headers["Authorization"] = f"Bearer {api_key}"
        self.liveness = Liveness(self.ask)

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
            responses.check_audio_headers(node, response)
            _ = response.content  # read it here, where a broken connection is mapped to NodeError
        return response

    @contextmanager
    def stream(
        self, node: Node, body: Mapping[str, Any], headers: Mapping[str, str], on_wait: OnWait = lambda _: float("inf")
    ) -> Iterator[requests.Response]:
        """POST /tts/stream: a response whose body is read with `iter_chunks`."""
        idle = idle_timeout(self.liveness.progress(node.url))
        with (
            _voice_errors(node, body.get("voice")),
            self._request(node, "POST", "/tts/stream", headers, body, body["timeout"] + idle, on_wait) as response,
        ):
            responses.check_audio_headers(node, response)
            # The request has left the queue: shorten the timeout. (Without keep-alive there is no socket to set it on.)
            if (connection := response.raw.connection) is not None and connection.sock is not None:
                connection.sock.settimeout(idle)
            yield response

    @contextmanager
    def reading(self, node: Node) -> Iterator[None]:
        """For a block that reads a response of `node` which another thread has opened."""
        with _map_errors(node), watching(_NodeWatch(self.liveness, node.url)):
            yield

    def segments(self, node: Node, body: Mapping[str, Any], headers: Mapping[str, str]) -> list[Segment]:
        """POST /segments: the segments in which the server would speak a text. Raises TextTooLongError too."""
        with (
            self._length_errors(node, body["text"]),
            _voice_errors(node, body.get("voice")),
            self._request(node, "POST", "/segments", headers, body, READ_TIMEOUT) as response,
        ):
            content = responses.json_object(node, response)
        try:
            return [responses.segment(segment) for segment in content["segments"]]
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
            return responses.json_object(node, response)

    def send(
        self, node: Node, method: str, path: str, body: Mapping[str, Any] | None, *, timeout: float
    ) -> dict[str, Any]:
        """POST or DELETE: the JSON object in the response; {} if it has no body."""
        with self._request(node, method, path, {}, body, timeout) as response:
            return {} if response.status_code == 204 else responses.json_object(node, response)

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
        on_wait: OnWait = lambda _: float("inf"),
    ) -> Iterator[requests.Response]:
        """The response to one request; closed after the block. `read_timeout`: seconds without data."""
        with _map_errors(node), watching(_NodeWatch(self.liveness, node.url, on_wait)):
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
                responses.raise_for_status(node, response)
                yield response

    def ask(self, url: str) -> Answer:
        """What the node at `url` says of itself within PROBE_TIMEOUT. Any response is a sign of life of its process."""
        timeout = (PROBE_TIMEOUT, PROBE_TIMEOUT)
        try:
            with self._session.get(
                url + "/ready", headers=self.headers, timeout=timeout, allow_redirects=False
            ) as response:
                progress = read_progress(responses.json_or_none(response))
                failure = f"no progress for {progress.stalled_seconds:.1f} s" if progress.is_stuck else ""
                return Answer(failure, ready=response.status_code < 500 and not failure, progress=progress)
        except (requests.RequestException, HTTPError, OSError, UnicodeError) as error:
            return Answer(f"no sign of life ({type(error).__name__})", ready=False)

    def close(self) -> None:
        self.liveness.close()
        self._session.close()


class _NodeWatch:
    """See `Watch`: of one request to a node."""

    def __init__(self, liveness: Liveness, url: str, on_wait: OnWait = lambda _: float("inf")) -> None:
        self._liveness, self._url, self._on_wait = liveness, url, on_wait

    def on_data(self) -> None:
        self._liveness.heard(self._url)

    def on_wait(self, since: float) -> float:
        return min(self._liveness.check(self._url, since), self._on_wait(time.monotonic() - since))


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
