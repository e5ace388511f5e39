"""A stream whose token comes from a newer node, while its cluster is being upgraded."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest
from glmtts_client import Node, Query, ResponseError, RetryPolicy, SpeechOptions
from glmtts_client.api import Api
from glmtts_client.audio_buffer import AudioBuffer
from glmtts_client.balancer import LoadBalancer
from glmtts_client.failover_stream import TOKEN_TOO_NEW, FailoverStream
from glmtts_client.node_pool import NodePool
from glmtts_client.speech import Segment
from glmtts_client.voice_misses import VoiceMisses

META = {"model": "m", "model_version": "1"}


class Nodes:
    """In place of the HTTP API: nodes that make tokens, of which the ones in `old` read none. It is also discovery."""

    def __init__(self, old: set[str]) -> None:
        self.old = old
        self.names = {"http://a", "http://b", "http://c"}
        self.first = ""
        self.liveness = SimpleNamespace(is_suspect=lambda url: False, is_ready=lambda url, patience: True)

    def nodes(self) -> list[Node]:
        return [Node(url, url, META) for url in sorted(self.names)]

    def segments(self, node: Node, body: Mapping[str, Any], headers: Mapping[str, str]) -> list[Segment]:
        return [Segment("One."), Segment("Two.")]

    @contextlib.contextmanager
    def stream(self, node: Node, body: Mapping[str, Any], headers: Mapping[str, str], on_wait: object) -> Iterator[Any]:
        if not self.first:
            self.first = node.url
            self.names.remove(node.url)  # it leaves after its segment
        if "continuation" in body and node.url in self.old:
            raise ResponseError(400, TOKEN_TOO_NEW, "too new", field="continuation", request_id=None)
        yield SimpleNamespace(headers={"X-Sample-Rate": "24000"}, iter_content=lambda size: iter([b"\0\0" * 2400]))

    def get(self, node: Node, path: str) -> dict[str, Any]:
        return {"continuation": "token"}


@pytest.mark.parametrize("all_old", [False, True])
def test_a_newer_node_is_asked_before_history_is_given_up(all_old: bool) -> None:
    """Whichever node is asked first: the one that reads the token speaks on; if none does, one speaks without it."""
    for seed in range(8):
        nodes = Nodes({"http://a", "http://b", "http://c"} if all_old else {"http://b"})
        api, retry = cast(Api, nodes), RetryPolicy(initial_delay=0.001)
        balancer = LoadBalancer((), rng=random.Random(seed))
        pool = NodePool(cast(Any, nodes), balancer, api, retry, VoiceMisses(lambda node, voice: None))
        stream = FailoverStream(pool, "One. Two.", SpeechOptions(), Query(), AudioBuffer(30.0), headers={})
        stream.run()
        last = stream.segments[-1]
        assert last.used_history is not all_old
        assert last.audio_seconds == pytest.approx(0.1)
        assert nodes.first not in last.nodes
        assert all(balancer.is_healthy(node) for node in nodes.nodes())
        assert len(last.nodes) == 2 if all_old else last.nodes[-1] not in nodes.old
