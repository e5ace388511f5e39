"""What nodes, and what stands between, may answer: each is the node's fault, the request's, or an answer."""

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
    """A node that sends given bytes to whoever connects, keeps what it was sent, and then closes or holds on."""
    listeners: list[socket.socket] = []

    def start(answer: bytes, *, hold: bool = False, heard: list[bytes] | None = None) -> Node:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def run() -> None:
            held = []
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return [each.close() for each in held] and None
                data = _request(connection)
                if heard is not None:
                    heard.append(data)
                connection.sendall(answer)
                if hold:
                    held.append(connection)
                else:
                    connection.close()

        threading.Thread(target=run, daemon=True).start()
        return Node("a", f"http://127.0.0.1:{listener.getsockname()[1]}")

    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def _request(connection: socket.socket) -> bytes:
    """One whole request, head and body."""
    data, wanted = b"", 1
    while len(data) < wanted and (more := connection.recv(65536)):
        data += more
        head, blank, _ = data.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head.lower())
        wanted = len(head + blank) + int(length[1] if length else 0) if blank else len(data) + 1
    return data


def reply(status: str, body: bytes = b"", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


ERROR = b'{"error": {"code": "busy", "message": "come again", "field": "text"}}'


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_answers_that_send_elsewhere(serve: Serve, status: int) -> None:
    """With what the server says of itself, and for how long it wants to be left alone."""
    node = serve(reply(f"{status} No", ERROR, Retry_After="7"))
    with pytest.raises(NodeError, match="busy: come again") as caught:
        Api().synthesize(node, BODY, {}, left=5)
    assert (caught.value.url, caught.value.retry_after, caught.value.busy) == (node.url, 7.0, status == 429)


@pytest.mark.parametrize("status", [400, 401, 404, 413, 422, 500, 507])
def test_answers_that_are_final(serve: Serve, status: int) -> None:
    """Code, field and request id are there for the caller."""
    node = serve(reply(f"{status} No", ERROR, X_Request_Id="r1"))
    with pytest.raises(ResponseError, match=rf"{status} busy: come again \(request r1\)") as caught:
        Api().synthesize(node, BODY, {}, left=5)
    error = caught.value
    assert (error.status, error.code, error.field, error.request_id) == (status, "busy", "text", "r1")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("0", 0.0), ("1.5", 1.5), ("-3", 0.0), ("soon", None), (None, None), ("in a minute", 60.0)],
)
def test_retry_after_in_both_its_forms(serve: Serve, header: str | None, seconds: float | None) -> None:
    """Seconds or a date; what is neither is as if it were not there."""
    if header == "in a minute":
        header = formatdate(time.time() + 60, usegmt=True)
    headers = {} if header is None else {"Retry_After": header}
    with pytest.raises(NodeError) as caught:
        Api().synthesize(serve(reply("503 No", **headers)), BODY, {}, left=5)
    assert caught.value.retry_after == pytest.approx(seconds, abs=10)


CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: audio/pcm\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "answer",
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
    ids=["nothing", "half a head", "no http", "a portal", "redirect", "short", "cut off", "no chunk"],
)
def test_what_is_no_answer_is_the_nodes_fault(serve: Serve, answer: bytes) -> None:
    """A broken or foreign answer is never taken for speech, whole or streamed."""
    node, api = serve(answer), Api()
    with pytest.raises(NodeError):
        api.synthesize(node, BODY, {}, left=5)
    with pytest.raises(NodeError), api.stream(node, BODY, {}) as streamed:
        list(iter_chunks(streamed))
    with pytest.raises((NodeError, ResponseError)):
        api.get(node, "/info")


def test_nobody_there(serve: Serve) -> None:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with pytest.raises(NodeError, match="ConnectionError"):
        Api().synthesize(Node("a", f"http://127.0.0.1:{port}"), BODY, {}, left=5)


def test_a_node_that_falls_silent_is_given_up(serve: Serve) -> None:
    """Its port still accepts, but no byte comes: the time that is left decides."""
    with pytest.raises(NodeError, match="Timeout"):
        Api().synthesize(serve(b"", hold=True), BODY, {}, left=0.5)


def test_a_stream_that_falls_silent_is_given_up(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it speaks it may be silent for less long than it may let a request wait in line."""
    monkeypatch.setattr("glmtts_client.api.STREAM_IDLE_TIMEOUT", 0.3)
    node = serve(CHUNKED + b"4\r\nabcd\r\n", hold=True)
    with pytest.raises(NodeError), Api().stream(node, {**BODY, "timeout": 200.0}, {}) as answer:
        assert list(iter_chunks(answer)) == [b"never"]


@pytest.mark.parametrize("discovered", [True, False])
def test_requests_say_how_they_came(serve: Serve, discovered: bool) -> None:
    """`via_consul` in both its spellings when discovery sent them; the key and the caller's trace always."""
    heard: list[bytes] = []
    node = serve(reply("400 No", ERROR), heard=heard)
    trace = f"00-{'ab' * 16}-{'cd' * 8}-01"
    with pytest.raises(ResponseError):
        Api(api_key="k", discovered=discovered).synthesize(node, BODY, {"traceparent": trace}, left=5)
    head = heard[0].decode().lower()
    assert ("\r\nvia_consul: true\r\n" in head) is discovered
    assert ("\r\nx-via-consul: true\r\n" in head) is discovered
    assert "\r\nauthorization: bearer k\r\n" in head
    assert f"\r\ntraceparent: {trace}\r\n" in head


def test_an_answer_without_its_headers_is_tried_elsewhere(serve: Serve) -> None:
    """Audio alone is not what the server sends: something else answered."""
    node = serve(reply("200 OK", b"RIFF", Content_Type="audio/wav"))
    policy = RetryPolicy(attempts=2, initial_delay=0.01)
    with (
        Cluster(urls=[node.url], retry=policy) as cluster,
        pytest.raises(RetriesExhaustedError, match=r"2 tries.*X-Sample-Rate"),
    ):
        cluster.synthesize("Hello.")


def test_a_bad_request_goes_to_one_node_only(serve: Serve) -> None:
    """400-class answers, but 429, are never tried again."""
    heard: list[bytes] = []
    urls = [serve(reply("400 No", ERROR), heard=heard).url for _ in range(3)]
    with Cluster(urls=urls) as cluster, pytest.raises(ResponseError):
        cluster.synthesize("Hello.")
    assert len([data for data in heard if data.startswith(b"POST /tts")]) == 1


def test_other_nodes_are_asked_when_one_is_not_there(serve: Serve) -> None:
    """And what is tried again keeps its seed, so that it does not matter who answers."""
    heard: list[bytes] = []
    audio: dict[str, Any] = {"X_Sample_Rate": "8000", "X_Audio_Seconds": "1", "X_Seed": "1", "X_Finish_Reason": "stop"}
    good = serve(reply("200 OK", b"RIFF", Content_Type="audio/wav", **audio), heard=heard)
    bad = [serve(reply("503 No"), heard=heard).url for _ in range(3)]
    with Cluster(urls=[*bad, good.url], retry=RetryPolicy(initial_delay=0.01)) as cluster:
        speech = cluster.synthesize("Hello.")
    assert speech.node == good.url
    bodies = {data.partition(b"\r\n\r\n")[2] for data in heard if data.startswith(b"POST /tts")}
    assert len(bodies) == 1
    assert b'"seed"' in next(iter(bodies))
