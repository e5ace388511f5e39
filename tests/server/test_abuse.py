"""Broken, slow, silent and disconnecting clients: each gets a response if possible, and others are still served."""

import json
import socket
import time
from contextlib import ExitStack, suppress
from http.client import HTTPResponse
from pathlib import Path

import pytest
import requests

from server.edge.limits import LINGER_BYTES, MAX_HEAD_BYTES, SEND_BUFFER_BYTES
from tests.helpers.server import Server, recording, wait_until

pytestmark = pytest.mark.processes

LONG = {"text": "a" * 3000}


def connect(server: Server, data: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    connection.sendall(data)
    return connection


def answer_to(server: Server, data: bytes, *, finish: bool = False) -> bytes:
    """The response to raw bytes, until the server closes the connection, or resets it before all of them are read."""
    chunks = []
    with connect(server, data) as connection, suppress(ConnectionResetError):
        if finish:
            with suppress(OSError):  # reset already: the response can still be read
                connection.shutdown(socket.SHUT_WR)
        while chunk := connection.recv(65536):
            chunks.append(chunk)
    return b"".join(chunks)


def post(body: bytes, *, length: int | None = None, path: str = "/tts", extra: str = "Connection: close\r\n") -> bytes:
    length = len(body) if length is None else length
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{extra}\r\n"
    )
    return head.encode() + body


def serves(server: Server) -> bool:
    return requests.post(server.url + "/tts", json={"text": "Hello."}, timeout=60).status_code == 200


@pytest.mark.parametrize(
    "body", [b'{"tex', b"", b"\x00\x00", b'{"text": "a\x00"}', b"[" * 50000, b"\xff\xfe\xfd", b'{"text": 1e999}']
)
def test_broken_bodies_get_a_400(server: Server, body: bytes) -> None:
    """Each response has the one error shape."""
    answer = answer_to(server, post(body))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"code"' in answer
    assert serves(server)


CHUNKED = b"POST /tts HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("content_type", [b"application/json", b"multipart/form-data; boundary=x"])
@pytest.mark.parametrize("chunks", [b"zz\r\n", b"-1\r\n", b"2\r\n{}XX", b'5\r\n{"te', b"2\r\n{}\r\n"])
def test_a_broken_chunked_body_is_a_client_error(server: Server, content_type: bytes, chunks: bytes) -> None:
    """No size, no terminator, no end: a 400, not a 500."""
    answer = answer_to(server, CHUNKED % content_type + chunks, finish=True)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"incomplete_body"' in answer
    assert serves(server)


def test_a_form_of_too_many_parts_is_a_413(server: Server) -> None:
    """The message has the limit."""
    fields = {f"field{number}": "1" for number in range(100)}
    answer = requests.post(server.url + "/tts", data=fields, files={"reference_audio": b""}, timeout=30)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
    assert "64 parts" in answer.json()["error"]["message"]


@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary=x"])
def test_a_broken_form_gets_a_400(server: Server, content_type: str) -> None:
    """No boundary, and an incomplete part."""
    body = b'--x\r\nContent-Disposition: form-data; name="text"\r\n\r\nhel'
    answer = requests.post(server.url + "/tts", data=body, headers={"Content-Type": content_type}, timeout=30)
    assert (answer.status_code, "error" in answer.json()) == (400, True)


def test_a_body_that_ends_early_is_a_400(server: Server) -> None:
    """The client announced 1000 bytes, sent 20 and closed its side; the thread is free again."""
    answer = answer_to(server, post(b'{"text": "Hello.", ', length=1000), finish=True)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert serves(server)


def test_a_stalled_body_times_out(server: Server) -> None:
    """After the read timeout the connection is closed, although the client keeps it open."""
    answer = answer_to(server, post(b'{"text": ', length=1000))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"stopped sending" in answer
    assert serves(server)


def test_a_body_over_the_limit_is_refused_unread(server: Server) -> None:
    """The client gets 413 before it has sent a byte of the body."""
    answer = answer_to(server, post(b"", length=26 * 2**20))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"too_large"' in answer


def test_a_client_that_sends_too_much_can_read_the_error(server: Server) -> None:
    """A client that sends everything before it reads gets the 413, not a reset."""
    answer = requests.post(server.url + "/tts", data=b"x" * (26 * 2**20), timeout=60)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


def test_a_chunked_body_over_the_limit_is_refused(server: Server) -> None:
    """The limit also applies without a Content-Length."""
    headers = {"Content-Type": "application/json"}
    pieces = (b"x" * 2**20 for _ in range(27))
    answer = requests.post(server.url + "/tts", data=pieces, headers=headers, timeout=60)
    assert answer.status_code == 413


def cancelled(server: Server) -> float:
    """Jobs cancelled by their clients: a stream's write may fail before the disconnect is detected."""
    return sum(server.metric("glmtts_cancellations_total", reason=reason) for reason in ("disconnected", "slow_reader"))


@pytest.mark.parametrize("path", ["/tts", "/tts/stream"])
def test_a_disconnect_ends_the_job(server: Server, path: str) -> None:
    """A running job, streamed or not, stops long before its five minutes of audio are made."""
    before = cancelled(server)
    body = f'{{"text": "{"a" * 3000}"}}'.encode()
    connection = connect(server, post(body, path=path))
    wait_until(lambda: server.metric("glmtts_backlog_seconds") > 0, "the job to run")
    connection.close()
    wait_until(lambda: server.metric("glmtts_backlog_seconds") == 0, "the job to end")
    wait_until(lambda: cancelled(server) == before + 1, "the count")
    assert serves(server)


def test_a_disconnect_in_the_queue_frees_the_place(server: Server) -> None:
    """Nothing is written to a queued request; its disconnect is detected all the same."""
    with requests.post(server.url + "/tts/stream", json=LONG, stream=True, timeout=60):
        connection = connect(server, post(b'{"text": "Hello."}'))
        wait_until(lambda: server.metric("glmtts_queued") == 1, "the request to be queued")
        connection.close()
        wait_until(lambda: server.metric("glmtts_queued") == 0, "the place to be free")
        assert server.metric("glmtts_in_flight") == 1


FEW_THREADS = {"GLMTTS_THREADS": "6", "GLMTTS_MAX_CONCURRENT_REQUESTS": "3", "GLMTTS_READ_TIMEOUT": "60"}


def unread(server: Server, data: bytes) -> socket.socket:
    """A connection whose client sends `data` and never reads."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2304)
    connection.connect(("127.0.0.1", server.port))
    connection.sendall(data)
    return connection


METRICS = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
DISGUISED = b"POST /segments HTTP/1.1\r\nHost: x\r\nX-GET: GET /health HTTP/1.1\r\n%sX: " % (
    b"Y: " + b"y" * 8000 + b"\r\n"
)


def test_probes_are_answered_whatever_others_do(voices: Path) -> None:
    """Silent connections, incomplete heads, slow bodies, unread metrics and disguised heads do not delay probes."""
    with Server("fake:delay=0.02", voices=voices, env=FEW_THREADS) as server, ExitStack() as connections:
        heads = (b"", b"GET /health HTTP/1.1\r\nHost:", b"POST /segments HTTP/1.1\r\n", DISGUISED)
        for data in (*heads, post(b"{", length=1000), post(b"{", length=1000, path="/nowhere")):
            for _ in range(30):
                connections.enter_context(connect(server, data))
        for _ in range(8):
            connections.enter_context(unread(server, METRICS * 60))
        time.sleep(0.5)
        for _ in range(5):
            assert [server.status(path) for path in ("/health", "/ready", "/metrics")] == [200, 200, 200]
        assert serves(server)


def test_slow_bodies_hold_no_thread(voices: Path) -> None:
    """Two hundred bodies that come a byte at a time, on six threads: others are spoken to as ever."""
    with Server("fake:", voices=voices, env=FEW_THREADS) as server, ExitStack() as connections:
        slow = [connections.enter_context(connect(server, post(b"{", length=1000))) for _ in range(200)]
        for _ in range(3):
            for connection in slow:
                connection.sendall(b" ")
            assert serves(server)


@pytest.mark.parametrize("path", ["/nowhere", "/voices"])
def test_a_refused_request_is_answered_before_its_body(server: Server, path: str) -> None:
    """At once, also where the client says to wait for it; what it sends then is taken for a moment only."""
    with connect(server, post(b"{", length=10**6, path=path, extra="Expect: 100-continue\r\n")) as connection:
        assert connection.recv(12) in (b"HTTP/1.1 404", b"HTTP/1.1 405")
        sent = 0
        with suppress(OSError):
            while True:
                sent += connection.send(b"x" * 4096)
                time.sleep(0.01)
        assert 0 < sent < LINGER_BYTES + 10 * SEND_BUFFER_BYTES


@pytest.mark.parametrize("piece", [0, 16])
def test_a_client_that_reads_too_slowly_is_disconnected(server: Server, piece: int) -> None:
    """After the write timeout, whether it reads nothing or a few bytes now and then."""
    before = cancelled(server)
    with unread(
        server, post(b'{"text": "%s", "sample_rate": 48000}' % (b"a" * 3000), path="/tts/stream")
    ) as connection:
        wait_until(lambda: server.metric("glmtts_in_flight") == 1, "the request to run")

        def is_cut() -> bool:
            with suppress(OSError):
                connection.recv(piece)
            return server.metric("glmtts_in_flight") == 0

        wait_until(is_cut, "the client to be disconnected")
    wait_until(lambda: cancelled(server) == before + 1, "the count")


def test_a_half_closed_stream_goes_on(server: Server) -> None:
    """Its client has sent all that it will, and still listens."""
    with connect(server, post(b'{"text": "%s", "format": "pcm"}' % (b"a" * 100), path="/tts/stream")) as connection:
        received = len(connection.recv(1000))
        connection.shutdown(socket.SHUT_WR)
        while chunk := connection.recv(65536):
            received += len(chunk)
    assert received > 10 * 24000 * 2


def test_a_half_closed_stream_is_well_formed(server: Server) -> None:
    """What finds out whether its client is still there does not change the audio."""
    request = post(b'{"text": "%s", "format": "pcm", "seed": 1}' % (b"a" * 100), path="/tts/stream")
    bodies = []
    for half_closed in (False, True):
        with connect(server, request) as connection:
            if half_closed:
                connection.recv(1, socket.MSG_PEEK)
                connection.shutdown(socket.SHUT_WR)
            response = HTTPResponse(connection, method="POST")
            response.begin()
            bodies.append(response.read())
    assert bodies[0] == bodies[1] != b""


def test_a_stream_whose_client_is_gone_ends_at_once(server: Server) -> None:
    """Although no more audio comes that could not be sent."""
    before = cancelled(server)
    text = b'{"text": "%s. HANG.", "format": "pcm"}' % (b"a" * 100)
    with connect(server, post(text, path="/tts/stream")) as connection:
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")
        connection.settimeout(1.0)
        with suppress(TimeoutError):  # until nothing is left that closing would throw away, which resets a connection
            while connection.recv(65536):
                pass
    wait_until(lambda: cancelled(server) == before + 1, "the job to be cancelled")


def test_a_half_closed_request_without_an_answer_yet_is_gone(server: Server) -> None:
    """Whole or queued: its work is cancelled, and the answer says so."""
    answer = answer_to(server, post(b'{"text": "%s"}' % (b"a" * 3000)), finish=True)
    assert answer.startswith(b"HTTP/1.1 499 ")


def test_shapes_of_requests_that_are_served(server: Server) -> None:
    """HTTP/1.0 without a Host, a proxy's absolute form, several requests in one packet, and a body in chunks."""
    old = answer_to(server, b"GET /voices HTTP/1.0\r\n\r\n")
    absolute = answer_to(server, b"GET http://x/voices HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert old.partition(b"\r\n\r\n")[2] == absolute.partition(b"\r\n\r\n")[2] != b""
    voices = b"GET /voices HTTP/1.1\r\nHost: x\r\n%s\r\n"
    assert answer_to(server, 2 * (voices % b"") + voices % b"Connection: close\r\n").count(b"HTTP/1.1 200 ") == 3
    chunked = CHUNKED % b"application/json" + b'6\r\n{"text\r\nb\r\n": "Hello."\r\n1\r\n}\r\n0\r\n\r\n'
    with connect(server, chunked) as connection:
        assert connection.recv(15) == b"HTTP/1.1 200 OK"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"my secret text\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\n\r\n", 400),
        (b"GET /health HTTP/3.0\r\nHost: x\r\n\r\n", 505),
        (b"GET /he\0alth HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: x\r\nbad name: 1\r\n\r\n", 400),
        (b"POST /tts HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /tts HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400),
        (b"POST /tts HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST /tts HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"GET /health HTTP/1.1\r\nHost: x\r\nX: %s\r\n\r\n" % (b"a" * 20 * MAX_HEAD_BYTES), 431),
    ],
)
def test_invalid_http_gets_the_one_error_shape(server: Server, data: bytes, status: int) -> None:
    """JSON with a request id that is in the log; the received bytes are not."""
    head, _, body = answer_to(server, data, finish=True).partition(b"\r\n\r\n")
    fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    assert int(head.split()[1]) == status
    assert fields["content-type"] == "application/json"
    assert json.loads(body)["error"]["code"] == "malformed_http"
    wait_until(lambda: any(fields["x-request-id"] in line for line in server.lines), "the log line")
    assert not any("secret text" in line for line in server.lines)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"POST /v1/audio/speech HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", "invalid_request_error"),
        (b"POST /v1/audio/speech HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", "server_error"),
        (b"GET /v1/models?a HTTP/3.0\r\nHost: x\r\n\r\n", "server_error"),
    ],
)
def test_invalid_http_under_v1_gets_the_shape_of_openai(server: Server, data: bytes, kind: str) -> None:
    head, _, body = answer_to(server, data, finish=True).partition(b"\r\n\r\n")
    assert b"x-should-retry: false" in head
    error = json.loads(body)["error"]
    assert error.pop("message").startswith("malformed HTTP: ")
    assert error == {"type": kind, "param": None, "code": "malformed_http"}


def test_noise_does_no_harm(server: Server) -> None:
    """TLS on a plain port, and random bytes."""
    for data in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\x00" * 64 + b"\r\n\r\n", b"A" * 10000):
        assert answer_to(server, data, finish=True)[:12] in (b"", b"HTTP/1.1 400", b"HTTP/1.1 414")
    assert serves(server)


def test_nothing_leaks(server: Server) -> None:
    """After many aborted requests the worker has as many threads and open files as before."""
    worker = Path(f"/proc/{server.worker()}")
    upload = {"reference_audio": ("a.wav", recording(), "audio/wav")}

    def abuse() -> None:
        for path in ("/tts", "/tts/stream"):
            for body in (b'{"text": "Hello."}', b'{"te', b'{"text": "%s"}' % (b"a" * 500)):
                connect(server, post(body, path=path)).close()
            requests.post(server.url + path, data={"text": "FAULT-MEMORY."}, files=upload, timeout=60)
            requests.post(server.url + path, json={"text": "LATE FAULT-MEMORY"}, stream=True, timeout=60).close()

    def settled() -> bool:
        return server.metric("glmtts_in_flight") == 0 and server.metric("glmtts_queued") == 0

    for _ in range(6):  # until the pool has all its threads
        abuse()
    wait_until(settled, "the end of all requests")
    time.sleep(3)
    threads, files = (len(list((worker / name).iterdir())) for name in ("task", "fd"))
    for _ in range(6):
        abuse()
    wait_until(settled, "the end of all requests")
    wait_until(lambda: len(list((worker / "fd").iterdir())) <= files, "the files to be closed")
    assert len(list((worker / "task").iterdir())) <= threads + 2
    assert serves(server)
