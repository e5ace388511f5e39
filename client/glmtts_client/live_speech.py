"""Speech of a text while it is being written: pieces go out over a WebSocket, samples come back.

A node that cannot be reached is replaced. One that fails later is not: text that it has taken and not spoken is gone
with it, and the reader hears of it within two seconds.
"""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import TracebackType
from typing import Any

from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection, connect

from glmtts_client.api import CONNECT_TIMEOUT
from glmtts_client.balancer import RequestHints
from glmtts_client.errors import ClientError, NodeError, ResponseError
from glmtts_client.node import Node, Query
from glmtts_client.node_pool import NodePool
from glmtts_client.responses import RETRYABLE_STATUS
from glmtts_client.retry import Deadline
from glmtts_client.speech import SpeechOptions

PATH = "/v1/audio/speech/stream"
BUSY_CODES = {"busy": 429, "queue_timeout": 503, "draining": 503, "loading": 503}
"""Errors that another node may not give, with the status that they have as responses."""


class LiveSpeech:
    """Iterates over chunks of samples: signed 16 bit, little endian, mono, `sample_rate` Hz. For one reader.

    `pieces` is read in a thread of its own. The node is chosen, and the first piece sent, when the first chunk or
    `sample_rate` is asked for. `close`, or the end of a `with` block, ends the speech at once. Iterating raises
    ClientError, or what `pieces` raised.
    """

    def __init__(self, pool: NodePool, pieces: Iterable[str], options: SpeechOptions, query: Query) -> None:
        self._pool = pool
        self._pieces = pieces
        self._query = query
        self._sample_rate_hint = options.sample_rate
        config = options.to_json() | {"response_format": "pcm"}
        self._config = {name: value for name, value in config.items() if name not in ("format", "history")}
        self._resources = ExitStack()
        self._socket: ClientConnection | None = None
        self._writing_error: BaseException | None = None
        self._sample_rate: int | None = None
        self._first: bytes | None = None
        self._ended = False
        self.node = ""
        """Address of the node that speaks; empty before it is chosen."""
        self.sentences: list[dict[str, Any]] = []
        """The sentences spoken so far: `index`, `text`, `start_s` and `end_s` in seconds of the audio."""

    @property
    def sample_rate(self) -> int:
        """In Hz; waits for the first audio. Raises ClientError."""
        while self._sample_rate is None:
            if self._ended:
                raise ClientError("there was nothing to speak")
            self._first = self._receive()
        return self._sample_rate

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        while not self._ended:
            chunk, self._first = self._first or self._receive(), None
            if chunk:
                return chunk
        raise StopIteration

    def _receive(self) -> bytes | None:
        """The next audio; None after another message."""
        socket = self._socket or self._open()
        try:
            with _connection_errors(self.node):
                data = self._wait_for_data(socket)
        except NodeError as error:
            if self._writing_error is not None:
                raise self._writing_error from None
            with suppress(NodeError):  # it ends the request as one that failed
                self._resources.__exit__(type(error), error, error.__traceback__)
            raise
        if isinstance(data, bytes):
            return data
        self._handle(json.loads(data))
        return None

    def _wait_for_data(self, socket: ClientConnection) -> str | bytes:
        """What the node sends next. Raises NodeError if it is silent and does not answer on another connection."""
        liveness, since = self._pool.api.liveness, time.monotonic()
        while True:
            try:
                data = socket.recv(liveness.check(self.node, since))
            except TimeoutError:
                continue
            liveness.heard(self.node)
            return data

    def _handle(self, message: dict[str, Any]) -> None:
        kind = message.pop("type", None)
        if kind == "audio.start":
            self._sample_rate = int(message["sample_rate"])
        elif kind == "sentence":
            self.sentences.append(message)
        elif kind == "session.done":
            self._ended = True
            self.close()
        elif kind == "error":
            self.close()
            raise _error(self.node, message["error"])

    def _open(self) -> ClientConnection:
        used: list[str] = []
        for attempt in self._pool.retry.retrying(Deadline(self._pool.retry.timeout)):
            with attempt, ExitStack() as resources:
                node = self._pool.pick(self._query, RequestHints(0, self._sample_rate_hint), used)
                used.append(node.url)
                resources.enter_context(self._pool.track_request(node))
                self._socket = resources.enter_context(self._connect(node))
                self._resources = resources.pop_all()
        assert self._socket is not None
        self.node = used[-1]
        threading.Thread(target=self._write, args=(self._socket,), name="live-speech", daemon=True).start()
        return self._socket

    @contextmanager
    def _connect(self, node: Node) -> Iterator[ClientConnection]:
        with _connection_errors(node.url), ExitStack() as stack:
            client = connect(
                "ws" + node.url.removeprefix("http") + PATH,
                additional_headers=self._pool.api.headers,
                user_agent_header=None,
                open_timeout=10 * CONNECT_TIMEOUT,
                close_timeout=CONNECT_TIMEOUT,
                max_size=None,
                ssl=ssl.create_default_context(cafile=self._pool.api.ca) if node.url.startswith("https") else None,
                proxy=True if self._pool.api.uses_proxy else None,
            )
            opened = stack.enter_context(client)
            stack.pop_all()
        try:
            yield opened
        finally:
            opened.close()

    def _write(self, socket: ClientConnection) -> None:
        try:
            socket.send(json.dumps({"type": "session.config", **self._config}))
            for piece in self._pieces:
                socket.send(json.dumps({"type": "input.text", "text": piece}))
            socket.send(json.dumps({"type": "session.close"}))
        except WebSocketException:
            pass  # the reader sees it too
        except BaseException as error:  # what `pieces` raised
            self._writing_error = error
            socket.close()

    def close(self) -> None:
        """Ends the speech at once. May be called repeatedly, from any thread."""
        self._ended = True
        with suppress(NodeError):
            self._resources.close()

    def __enter__(self) -> LiveSpeech:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _error(url: str, error: dict[str, Any]) -> ClientError:
    code, message = str(error["code"]), str(error["message"])
    if code in BUSY_CODES:
        return NodeError(url, f"{code}: {message}", status=BUSY_CODES[code], retry_after=error.get("retry_after"))
    return ResponseError(400, code, message, field=error.get("param"), request_id=None)


@contextmanager
def _connection_errors(url: str) -> Iterator[None]:
    """Raises NodeError for a connection that fails, and ResponseError for a refusal that any node would give."""
    try:
        yield
    except InvalidStatus as error:
        status = error.response.status_code
        code, message = "error", error.response.reason_phrase
        with suppress(ValueError, LookupError, TypeError):
            content = json.loads(error.response.body)["error"]
            code, message = str(content["code"]), str(content["message"])
        if status in RETRYABLE_STATUS:
            raise NodeError(url, f"{status} {code}: {message}", status=status) from error
        raise ResponseError(status, code, message, field=None, request_id=None) from error
    except (WebSocketException, OSError, TimeoutError) as error:
        raise NodeError(url, f"no complete response ({type(error).__name__})") from error
