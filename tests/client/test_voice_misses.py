"""Requests go to nodes that have the voice."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from glmtts_client import Cluster, NodeError, ResponseError, SpeechOptions
from glmtts_client.errors import VoiceNotFoundError
from glmtts_client.node import Node
from glmtts_client.voice_misses import MISS_SECONDS, VoiceMisses

from tests.helpers.server import Server, store_voice

NODES = [Node(f"node{number}", f"http://node{number}") for number in range(3)]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def not_found(node: Node, voice: str) -> VoiceNotFoundError:
    response = ResponseError(404, "unknown_voice", "no", field="voice", request_id=None)
    return VoiceNotFoundError(node.url, voice, response)


def test_a_miss_is_learnt_from_all_and_forgotten() -> None:
    """The node that lacks the voice is left out for a while; a node that cannot be asked is not."""
    clock, asked = Clock(), []

    def ask(node: Node, voice: str) -> None:
        asked.append(node)
        if node == NODES[1]:
            raise NodeError(node.url, "no response")
        raise not_found(node, voice)

    misses = VoiceMisses(ask, clock)
    assert misses.nodes_with("bob", NODES) == NODES
    misses.record(not_found(NODES[0], "bob"), NODES)
    assert sorted(node.id for node in asked) == ["node1", "node2"]
    assert misses.nodes_with("bob", NODES) == [NODES[1]]
    assert misses.nodes_with("eve", NODES) == misses.nodes_with(None, NODES) == NODES
    clock.now = MISS_SECONDS
    assert misses.nodes_with("bob", NODES) == NODES


def test_a_voice_that_nobody_has_is_the_nodes_own_error() -> None:
    """Until it is stored."""

    def ask(node: Node, voice: str) -> None:
        raise not_found(node, voice)

    misses = VoiceMisses(ask)
    misses.record(not_found(NODES[0], "bob"), NODES)
    with pytest.raises(ResponseError, match="unknown_voice"):
        misses.nodes_with("bob", NODES)
    assert misses.nodes_with("bob", []) == [], "no node lacks it: this is another error"
    misses.forget("bob")
    assert misses.nodes_with("bob", NODES) == NODES


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    """Three nodes that do not share their voices; the last one lacks bob."""
    folder = tmp_path_factory.mktemp("voices")
    for number in range(3):
        store_voice(folder / str(number), "default", {"neutral": "This is me."})
        if number < 2:
            store_voice(folder / str(number), "bob", {"neutral": "This is Bob."})
    with ExitStack() as stack:
        servers = [Server(voices=folder / str(number)) for number in range(3)]
        for server in servers:
            stack.enter_context(server)
        yield servers


@pytest.mark.processes
def test_only_nodes_that_have_the_voice_speak_with_it(servers: list[Server]) -> None:
    """Every request succeeds, and the node that lacks the voice is asked once; with other voices it works on."""
    with Cluster(urls=[server.url for server in servers]) as cluster:
        for _ in range(12):
            assert cluster.synthesize("Hello.", SpeechOptions(voice="bob")).node != servers[2].url
            with cluster.stream("Hello. Hello again.", SpeechOptions(voice="bob")) as stream:
                assert sum(map(len, stream)) > 0
        refused = sum(
            servers[2].metric("glmtts_requests_total", route=route, status="404")
            for route in ("/tts", "/tts/stream", "/segments")
        )
        assert refused <= 1
        spoken = {cluster.synthesize("Hello.").node for _ in range(30)}
        assert servers[2].url in spoken


@pytest.mark.processes
def test_an_unknown_voice_is_said_to_be_unknown_at_once(servers: list[Server]) -> None:
    """Each node is asked once, and the error is that of the server."""
    with Cluster(urls=[server.url for server in servers]) as cluster:
        start = time.monotonic()
        for _ in range(3):
            with pytest.raises(ResponseError, match="expected a stored voice"):
                cluster.synthesize("Hello.", SpeechOptions(voice="nobody"))
            with (
                pytest.raises(ResponseError, match="expected a stored voice"),
                cluster.stream("Hello.", SpeechOptions(voice="nobody")) as stream,
            ):
                list(stream)
        assert time.monotonic() - start < 60
        refused = [server.metric("glmtts_requests_total", route="/tts", status="404") for server in servers]
        assert sum(refused) <= 2
