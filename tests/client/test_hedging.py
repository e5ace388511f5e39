"""A stream that waits in a node's queue is asked for on a second node too, where that is cheap."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from glmtts_client import Node, NodeError, RetryPolicy
from glmtts_client.api import Api
from glmtts_client.balancer import LoadBalancer
from glmtts_client.discovery import StaticDiscovery
from glmtts_client.node import ANY_NODE
from glmtts_client.node_pool import HEDGE_RESERVE, NodePool
from glmtts_client.voice_misses import VoiceMisses

BODY = {"text": "Hello.", "timeout": 20.0}


class FakeNode:
    """Answers /ready with `progress`, and a stream with its own name once `go` is set; with 503 if it `fails`."""

    def __init__(self, name: str, *, answers: bool, **progress: float) -> None:
        self.go, self.left = threading.Event(), threading.Event()
        self.fails = False
        self.asked = 0
        self.progress = progress
        if answers:
            self.go.set()
        node = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._send(200, "application/json", json.dumps({"status": "ready", **node.progress}).encode())

            def do_POST(self) -> None:
                node.asked += 1
                self.rfile.read(int(self.headers["Content-Length"]))
                while not node.go.wait(0.05):
                    self.connection.setblocking(False)
                    try:
                        if self.connection.recv(1) == b"":
                            node.left.set()
                            return
                    except BlockingIOError:
                        pass
                    finally:
                        self.connection.setblocking(True)
                self._send(503 if node.fails else 200, "audio/pcm", name.encode())

            def _send(self, status: int, kind: str, data: bytes) -> None:
                self.send_response(status)
                for header, value in (("Content-Type", kind), ("X-Sample-Rate", "24000")):
                    self.send_header(header, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self.go.set()
        self._server.shutdown()
        self._server.server_close()


Make = Callable[..., tuple[NodePool, list[FakeNode]]]


@pytest.fixture
def make() -> Iterator[Make]:
    """A pool of two nodes: the first does not answer streams by itself. The arguments are what each tells of itself."""
    nodes: list[FakeNode] = []
    pools: list[NodePool] = []

    def run(first: dict[str, Any], second: dict[str, Any]) -> tuple[NodePool, list[FakeNode]]:
        nodes.extend((FakeNode("first", answers=False, **first), FakeNode("second", answers=True, **second)))
        api = Api(discovered=False)
        discovery = StaticDiscovery([node.url for node in nodes], headers=api.headers)
        pools.append(NodePool(discovery, LoadBalancer(), api, RetryPolicy(), VoiceMisses(api.voice)))
        return pools[0], nodes

    yield run
    for node in nodes:
        node.close()
    for pool in pools:
        pool.api.close()


def speak(pool: NodePool, node: FakeNode, text: str = "Hello.") -> tuple[str, bytes]:
    """The address of the node that answered, and its answer."""
    with pool.stream(Node("", node.url), {**BODY, "text": text}, {}, ANY_NODE) as answer:
        return answer.node.url, answer.response.content


def later(action: Callable[[], None], seconds: float = 1.5) -> None:
    threading.Timer(seconds, action).start()


def test_the_second_node_wins_over_a_queue(make: Make) -> None:
    """The first request is given up, so that its node need not serve it."""
    pool, (first, second) = make({"queued": 3}, {"queued": 0})
    assert speak(pool, first) == (second.url, b"second")
    assert first.left.wait(10)
    assert (first.asked, second.asked) == (1, 1)


@pytest.mark.parametrize(
    ("first", "second", "text"),
    [
        pytest.param({"queued": 0}, {"queued": 0}, "Hello.", id="at work"),
        pytest.param({"queued": 3}, {"queued": 1}, "Hello.", id="both full"),
        pytest.param({"queued": 3}, {"stalled_seconds": 30.0}, "Hello.", id="second stuck"),
        pytest.param({"queued": 3}, {}, "a" * 300, id="long text"),
        pytest.param({}, {}, "Hello.", id="old nodes"),
    ],
)
def test_no_second_node_is_asked(make: Make, first: dict[str, Any], second: dict[str, Any], text: str) -> None:
    """If the first works on it, the second has no place or is stuck, or it would be much work twice."""
    pool, nodes = make(first, second)
    later(nodes[0].go.set)
    assert speak(pool, nodes[0], text) == (nodes[0].url, b"first")
    assert nodes[1].asked == 0


@pytest.mark.slow
def test_hedges_have_a_budget(make: Make) -> None:
    """A cluster of nodes with queues does not get twice the requests."""
    pool, (first, second) = make({"queued": 3}, {"queued": 0})
    for _ in range(int(HEDGE_RESERVE)):
        assert speak(pool, first) == (second.url, b"second")
    later(first.go.set)
    assert speak(pool, first) == (first.url, b"first")
    assert second.asked == HEDGE_RESERVE


def test_the_second_answers_when_the_first_fails(make: Make) -> None:
    """Though it was asked only because of the queue, and is slow itself."""
    pool, (first, second) = make({"queued": 3}, {"queued": 0})
    second.go.clear()
    first.fails = True
    later(first.go.set)
    later(second.go.set, 2.0)
    assert speak(pool, first) == (second.url, b"second")
    assert not pool.balancer.is_healthy(Node("", first.url))


def test_the_first_answers_when_the_second_fails(make: Make) -> None:
    """And the second does not take anything with it."""
    pool, (first, second) = make({"queued": 3}, {"queued": 0})
    second.fails = True
    later(first.go.set)
    assert speak(pool, first) == (first.url, b"first")
    assert second.asked == 1


def test_a_stuck_engine_is_given_up(make: Make) -> None:
    """Though its process answers: it has made no progress for much longer than its longest step."""
    pool, (first, _) = make({"stalled_seconds": 2.0, "pace_seconds": 0.1}, {})
    start = time.monotonic()
    with pytest.raises(NodeError, match=r"no progress for 2\.0 s"):
        speak(pool, first)
    assert time.monotonic() - start < BODY["timeout"] / 2
    first.progress["pace_seconds"] = 1.0
    later(first.go.set)
    assert speak(pool, first) == (first.url, b"first")
