"""A request waits for a node for as long as it is alive, and no longer."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import pytest
from glmtts_client import Node, NodeError
from glmtts_client.api import READ_TIMEOUT, Api
from glmtts_client.liveness import FRESH_SECONDS, PROBES, REPEAT_SECONDS, Answer, Liveness

URL = "http://node"
ALIVE, DEAD = Answer("", ready=True), Answer("no sign of life", ready=False)


def wait(liveness: Liveness, seconds: float) -> None:
    """Waits for the node as a request does. Raises NodeError."""
    since = time.monotonic()
    while (left := since + seconds - time.monotonic()) > 0:
        time.sleep(min(left, liveness.check(URL, since)))


def test_a_dead_node_fails_all_that_wait_for_it() -> None:
    """After a few questions, which they share."""
    questions: list[str] = []
    liveness = Liveness(lambda url: questions.append(url) or DEAD)  # type: ignore[func-returns-value]
    errors: list[NodeError] = []

    def run() -> None:
        try:
            wait(liveness, 30)
        except NodeError as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [str(error) for error in errors] == ["http://node: no sign of life"] * 20
    assert len(questions) == PROBES
    liveness.close()


@pytest.mark.slow
def test_a_live_node_is_waited_for() -> None:
    """It is asked now and then, and once it has sent something, it is not asked."""
    times: list[float] = []
    liveness = Liveness(lambda url: times.append(time.monotonic()) or ALIVE)  # type: ignore[func-returns-value]
    wait(liveness, 2.0)
    assert 2 <= len(times) <= 4
    assert all(later - earlier >= REPEAT_SECONDS for earlier, later in pairwise(times))
    times.clear()
    for _ in range(10):
        liveness.heard(URL)
        wait(liveness, 0.1)
    assert times == []
    liveness.close()


def test_a_question_that_stays_open_makes_a_node_suspect() -> None:
    """Until it is answered, or the node sends something."""
    release = threading.Event()
    liveness = Liveness(lambda url: (release.wait(20) and ALIVE) or DEAD)
    assert not liveness.is_suspect(URL)
    wait(liveness, 0.4)
    assert not liveness.is_suspect(URL)
    wait(liveness, 0.4)
    assert liveness.is_suspect(URL)
    liveness.heard(URL)
    assert not liveness.is_suspect(URL)
    release.set()
    wait(liveness, 0.5)
    assert not liveness.is_suspect(URL)
    liveness.close()


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_node_is_asked_before_a_request_if_it_has_been_quiet() -> None:
    """One that has sent something lately, or answered, is not; nor is any after the end."""
    time, questions = Time(), list[str]()
    liveness = Liveness(lambda url: questions.append(url) or ALIVE, time)  # type: ignore[func-returns-value]
    for since, asked in ((0.0, 1), (FRESH_SECONDS, 1), (2 * FRESH_SECONDS, 2)):
        time.now += since
        assert liveness.is_ready(URL)
        assert len(questions) == asked
    time.now += 2 * FRESH_SECONDS
    liveness.heard(URL)
    assert liveness.is_ready(URL)
    assert len(questions) == 2
    liveness.close()
    time.now += 2 * FRESH_SECONDS
    assert liveness.is_ready(URL)
    assert len(questions) == 2


def test_a_node_that_is_not_ready_is_asked_every_time() -> None:
    """It may be at any moment; one that is dead raises."""
    answers = [Answer("", ready=False), DEAD, DEAD, ALIVE]
    liveness = Liveness(lambda url: answers.pop(0))
    assert not liveness.is_ready(URL)
    with pytest.raises(NodeError, match="no sign of life"):
        liveness.is_ready(URL)
    assert liveness.is_ready(URL)
    assert answers == []
    liveness.close()


def test_nobody_waits_for_an_answer_that_does_not_come() -> None:
    """The question stays open for those who come later, who are not held up at all."""
    release, questions = threading.Event(), list[str]()
    liveness = Liveness(lambda url: (questions.append(url), release.wait(20)) and ALIVE)
    assert not liveness.is_ready(URL)
    assert not liveness.is_ready(URL)
    assert len(questions) == 1
    release.set()
    liveness.close()


class Handler(BaseHTTPRequestHandler):
    """Answers /ready at once, /slow after two seconds in the middle of its body, and /never never."""

    stuck = threading.Event()

    def do_GET(self) -> None:
        if self.path == "/never" or (self.path == "/ready" and self.stuck.is_set()):
            time.sleep(20)
            return
        body = b'{"state": "running"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:5])
        self.wfile.flush()
        if self.path == "/slow":
            time.sleep(2)
        self.wfile.write(body[5:])

    def log_message(self, *_: object) -> None:
        """Nothing."""


Serve = Callable[[bool], tuple[Node, Api]]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts the server, with TLS or without; returns it as a node with a client for it."""
    servers: list[ThreadingHTTPServer] = []

    def start(tls: bool) -> tuple[Node, Api]:
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        servers.append(server)
        api = Api()
        if tls:
            certificate, key = _certificate(tmp_path)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, key)
            server.socket = context.wrap_socket(server.socket, server_side=True)
            api._session.verify = str(certificate)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return Node("a", f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"), api

    yield start
    Handler.stuck.clear()
    for server in servers:
        server.shutdown()
        server.server_close()


def _certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that signs itself, and its key."""
    openssl = shutil.which("openssl") or pytest.skip("needs openssl")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    new = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names]
    subprocess.run([*new, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    return certificate, key


@pytest.mark.parametrize("tls", [False, True])
def test_a_slow_response(serve: Serve, tls: bool) -> None:
    """The whole body comes, though nothing did for longer than a dead node is waited for."""
    node, api = serve(tls)
    assert api.get(node, "/slow") == {"state": "running"}
    api.close()


@pytest.mark.parametrize("tls", [False, True])
def test_a_node_that_stops(serve: Serve, tls: bool) -> None:
    """A request to a node that accepts connections and says nothing fails long before its timeout."""
    node, api = serve(tls)
    api.get(node, "/info")
    Handler.stuck.set()
    start = time.monotonic()
    with pytest.raises(NodeError, match="no sign of life"):
        api.get(node, "/never")
    assert time.monotonic() - start < READ_TIMEOUT / 2
    api.close()
