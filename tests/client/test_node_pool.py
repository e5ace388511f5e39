"""A node that died while nobody used it gets no request, however old the list of nodes is."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from glmtts_client import ClientError, Node, NoNodeAvailableError, RetryPolicy
from glmtts_client.api import Api
from glmtts_client.balancer import LoadBalancer, RequestHints
from glmtts_client.discovery import StaticDiscovery
from glmtts_client.node import ANY_NODE
from glmtts_client.node_pool import NodePool
from glmtts_client.voice_misses import VoiceMisses

HINTS = RequestHints(10)


class Ready(BaseHTTPRequestHandler):
    """A node that answers each question with `status`."""

    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


class Draining(Ready):
    status = 503


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def running(stack: ExitStack, handler: type[Ready]) -> Node:
    server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), handler))
    server.daemon_threads = True
    stack.callback(server.shutdown)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return Node(handler.__name__, f"http://127.0.0.1:{server.server_port}")


def silent(stack: ExitStack) -> Node:
    """One whose system accepts connections, as for a stopped process."""
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    return Node("silent", f"http://127.0.0.1:{listener.getsockname()[1]}")


def gone(stack: ExitStack) -> Node:
    """One at whose port nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return Node("gone", f"http://127.0.0.1:{listener.getsockname()[1]}")


def pool_of(stack: ExitStack, *nodes: Node) -> NodePool:
    api = Api(discovered=False)
    stack.callback(api.close)
    discovery = StaticDiscovery([node.url for node in nodes])
    return NodePool(discovery, LoadBalancer(), api, RetryPolicy(), VoiceMisses(api.voice))


def test_a_node_that_does_not_answer_is_not_picked(stack: ExitStack) -> None:
    """Though it was never used before: whether it says nothing, is not there, or is about to leave."""
    good = running(stack, Ready)
    nodes = [good, silent(stack), gone(stack), running(stack, Draining)]
    for _ in range(10):
        pool = pool_of(stack, *nodes)
        assert pool.pick_among(nodes, HINTS) == good


def test_one_that_is_not_there_is_left_out_from_then_on(stack: ExitStack) -> None:
    """Until it answers a question in the background; one that is only slow to answer is not."""
    for node, healthy in ((gone(stack), False), (silent(stack), True)):
        pool = pool_of(stack, node)
        assert not pool.is_ready(node)
        assert pool.balancer.is_healthy(node) == healthy


def test_nothing_is_sent_to_a_dead_node_while_the_others_are_busy(stack: ExitStack) -> None:
    """They will have time again."""
    dead, busy = silent(stack), running(stack, Ready)
    pool = pool_of(stack, dead, busy)
    pool.balancer.record_failure(busy, busy=True, retry_after=100.0)
    with pytest.raises(NoNodeAvailableError, match="busy"):
        pool.pick_among([dead, busy], HINTS)


def test_one_that_was_tried_is_better_than_a_silent_one(stack: ExitStack) -> None:
    """It failed this request only."""
    good = running(stack, Ready)
    nodes = [silent(stack), good]
    for _ in range(5):
        assert pool_of(stack, *nodes).pick_among(nodes, HINTS, avoid=[good.url]) == good


def test_without_a_good_node_another_gets_the_request(stack: ExitStack) -> None:
    """Whose failure the caller hears of."""
    nodes = [silent(stack), gone(stack), gone(stack), gone(stack), gone(stack)]
    assert pool_of(stack, *nodes).pick_among(nodes, HINTS) in nodes
    with pytest.raises(ClientError, match="no node"):
        pool_of(stack, *nodes).pick_among([], HINTS)


def test_a_node_with_any_answer_is_used(stack: ExitStack) -> None:
    """As one behind a proxy that knows no /ready."""

    class Unknown(Ready):
        status = 404

    node = running(stack, Unknown)
    assert pool_of(stack, node).pick(ANY_NODE, HINTS).url == node.url
