"""Responses that nodes and proxies may give: each is the node's fault, the request's fault, or audio."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from typing import Any

import pytest
from glmtts_client import Cluster, Node, NodeError, ResponseError, RetriesExhaustedError, RetryPolicy
from glmtts_client.api import Api, iter_chunks

BODY = {"text": "Hello.", "timeout": 5.0}

Serve = Callable[..., Node]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts servers that record a request, send fixed bytes, and then close or hold the connection."""
    listeners: list[socket.socket] = []

    def start(response: bytes, *, hold: bool = False, requests: list[bytes] | None = None) -> Node:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def run() -> None:
            connections = []
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return [each.close() for each in connections] and None
                data = _request(connection)
                if requests is not None:
                    requests.append(data)
                connection.sendall(response)
                if hold:
                    connections.append(connection)
                else:
                    connection.close()

        threading.Thread(target=run, daemon=True).start()
        return Node("a", f"http://127.0.0.1:{listener.getsockname()[1]}")

    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def _request(connection: socket.socket) -> bytes:
    """One complete request: head and body."""
    data, length_needed = b"", 1
    while len(data) < length_needed and (more := connection.recv(65536)):
        data += more
        head, blank, _ = data.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head.lower())
        length_needed = len(head + blank) + int(length[1] if length else 0) if blank else len(data) + 1
    return data


def reply(status: str, body: bytes = b"", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


ERROR = b'{"error": {"code": "busy", "message": "come again", "field": "text"}}'


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_retryable_statuses(serve: Serve, status: int) -> None:
    """The error has the server's message and its Retry-After."""
    node = serve(reply(f"{status} No", ERROR, Retry_After="7"))
    with pytest.raises(NodeError, match="busy: come again") as raised:
        Api().synthesize(node, BODY, {}, timeout=5)
    assert (raised.value.url, raised.value.retry_after, raised.value.busy) == (node.url, 7.0, status == 429)


@pytest.mark.parametrize("status", [400, 401, 404, 413, 422, 500, 507])
def test_final_statuses(serve: Serve, status: int) -> None:
    """The error has the code, the field and the request id."""
    node = serve(reply(f"{status} No", ERROR, X_Request_Id="r1"))
    with pytest.raises(ResponseError, match=rf"{status} busy: come again \(request r1\)") as raised:
        Api().synthesize(node, BODY, {}, timeout=5)
    error = raised.value
    assert (error.status, error.code, error.field, error.request_id) == (status, "busy", "text", "r1")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("0", 0.0), ("1.5", 1.5), ("-3", 0.0), ("soon", None), (None, None), ("in a minute", 60.0)],
)
def test_retry_after(serve: Serve, header: str | None, seconds: float | None) -> None:
    """Seconds or a date; anything else is ignored."""
    if header == "in a minute":
        header = formatdate(time.time() + 60, usegmt=True)
    headers = {} if header is None else {"Retry_After": header}
    with pytest.raises(NodeError) as raised:
        Api().synthesize(serve(reply("503 No", **headers)), BODY, {}, timeout=5)
    assert raised.value.retry_after == pytest.approx(seconds, abs=10)


CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: audio/pcm\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "response",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"SSH-2.0-OpenSSH\r\n",
        reply("200 OK", b"<html>log in</html>", Content_Type="text/html"),
        reply("302 Found", Location="http://elsewhere.invalid/"),
        b"HTTP/1.1 200 OK\r\nContent-Type: audio/wav\r\nContent-Length: 100\r\n\r\nshort",
        CHUNKED + b"4\r\nabcd\r\n",
        CHUNKED + b"what?\r\n",
    ],
    ids=["empty", "partial head", "not http", "login page", "redirect", "short body", "truncated chunks", "bad chunk"],
)
def test_invalid_responses_are_node_errors(serve: Serve, response: bytes) -> None:
    """A broken or foreign response is never taken for speech, complete or streamed."""
    node, api = serve(response), Api()
    with pytest.raises(NodeError):
        api.synthesize(node, BODY, {}, timeout=5)
    with pytest.raises(NodeError), api.stream(node, BODY, {}) as streamed:
        list(iter_chunks(streamed))
    with pytest.raises((NodeError, ResponseError)):
        api.get(node, "/info")


def test_a_closed_port_is_a_node_error(serve: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with pytest.raises(NodeError, match="ConnectionError"):
        Api().synthesize(Node("a", f"http://127.0.0.1:{port}"), BODY, {}, timeout=5)


def test_a_silent_node_times_out(serve: Serve) -> None:
    """Its port accepts, but it sends nothing: the remaining time is the limit, if it is short."""
    with pytest.raises(NodeError, match="Timeout"):
        Api().synthesize(serve(b"", hold=True), BODY, {}, timeout=0.5)
    with pytest.raises(NodeError, match="no sign of life"):
        Api().synthesize(serve(b"", hold=True), BODY, {}, timeout=60)


def test_a_silent_stream_times_out(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once audio comes, the timeout is shorter than the queue timeout."""
    monkeypatch.setattr("glmtts_client.deadlines.IDLE_TIMEOUT", 0.3)
    node = serve(CHUNKED + b"4\r\nabcd\r\n", hold=True)
    with pytest.raises(NodeError), Api().stream(node, {**BODY, "timeout": 200.0}, {}) as response:
        assert list(iter_chunks(response)) == [b"never"]


@pytest.mark.parametrize("discovered", [True, False])
def test_request_headers(serve: Serve, discovered: bool) -> None:
    """`via_consul` in both spellings if the node was discovered; the API key and the caller's trace always."""
    requests: list[bytes] = []
    node = serve(reply("400 No", ERROR), requests=requests)
    trace = f"00-{'ab' * 16}-{'cd' * 8}-01"
    with pytest.raises(ResponseError):
        Api(api_key="k", discovered=discovered).synthesize(node, BODY, {"traceparent": trace}, timeout=5)
    head = requests[0].decode().lower()
    assert ("\r\nvia_consul: true\r\n" in head) is discovered
    assert ("\r\nx-via-consul: true\r\n" in head) is discovered
    assert "\r\nauthorization: bearer k\r\n" in head
    assert f"\r\ntraceparent: {trace}\r\n" in head


def test_audio_without_headers_is_retried(serve: Serve) -> None:
    """The server always sends them, so something else responded."""
    node = serve(reply("200 OK", b"RIFF", Content_Type="audio/wav"))
    policy = RetryPolicy(max_failures=2, initial_delay=0.01)
    with (
        Cluster(urls=[node.url], retry=policy) as cluster,
        pytest.raises(RetriesExhaustedError, match=r"2 attempts.*X-Sample-Rate"),
    ):
        cluster.synthesize("Hello.")


def test_a_bad_request_is_not_retried(serve: Serve) -> None:
    """Nor is any other 4xx status, except 429."""
    requests: list[bytes] = []
    urls = [serve(reply("400 No", ERROR), requests=requests).url for _ in range(3)]
    with Cluster(urls=urls) as cluster, pytest.raises(ResponseError):
        cluster.synthesize("Hello.")
    assert len([data for data in requests if data.startswith(b"POST /tts")]) == 1


def test_other_nodes_are_tried(serve: Serve) -> None:
    """All attempts have the same seed, so it does not matter which node answers."""
    requests: list[bytes] = []
    audio: dict[str, Any] = {"X_Sample_Rate": "8000", "X_Audio_Seconds": "1", "X_Seed": "1", "X_Finish_Reason": "stop"}
    good = serve(reply("200 OK", b"RIFF", Content_Type="audio/wav", **audio), requests=requests)
    bad = [serve(reply("503 No"), requests=requests).url for _ in range(3)]
    with Cluster(urls=[*bad, good.url], retry=RetryPolicy(initial_delay=0.01)) as cluster:
        speech = cluster.synthesize("Hello.")
    assert speech.node == good.url
    bodies = {data.partition(b"\r\n\r\n")[2] for data in requests if data.startswith(b"POST /tts")}
    assert len(bodies) == 1
    assert b'"seed"' in next(iter(bodies))
