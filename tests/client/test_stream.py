"""Streams over real nodes that crash, drain and differ, compared sample by sample with an undisturbed run."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from glmtts_client import Cluster, Node, Query, RetriesExhaustedError, RetryPolicy, SpeechOptions, SpeechStream
from glmtts_client.api import Api
from glmtts_client.splice import FADE_SECONDS

from tests.client.conftest import CLUSTER_SERVICE, SLOW, Start, kill, retrying_cluster
from tests.helpers.consul import Agent, eventually
from tests.helpers.server import Server, wait_until

pytestmark = pytest.mark.processes

TEXT = (
    "This is the first sentence of a story that is long enough to be broken. "
    "Its second sentence is just as long, so that one can die in the middle of it! "
    "The third one ends it, as all things end, whoever speaks them."
)
SECONDS = [7.1, 7.7, 6.2]
SEEDED = SpeechOptions(seed=7, sample_rate=24000)


@pytest.fixture(scope="module")
def undisturbed(voices: Path) -> bytes:
    """The text from a separate node, in one response."""
    with Server("fake:", voices=voices) as server, Cluster(urls=[server.url]) as cluster:
        return cluster.synthesize(TEXT, replace(SEEDED, format="pcm")).audio


def listen(stream: SpeechStream, at: float, then: Callable[[], None]) -> bytes:
    """All samples; calls `then` once, after `at` seconds of audio."""
    out, pending = b"", True
    for samples in stream:
        out += samples
        if pending and len(out) >= at * 2 * stream.sample_rate:
            pending = False
            then()
    assert not pending
    return out


def speaker(servers: list[Server], stream: SpeechStream) -> Server:
    """The node of the current segment."""
    return next(server for server in servers if server.url == stream.segments[-1].nodes[-1])


def test_a_stream_equals_one_response(agent: Agent, cluster_nodes: list[Server], undisturbed: bytes) -> None:
    """Segments from the cluster concatenate to the samples of one request to one node."""
    with retrying_cluster(agent, CLUSTER_SERVICE) as cluster, cluster.stream(TEXT, SEEDED) as stream:
        assert stream.sample_rate == 24000
        assert b"".join(stream) == undisturbed
    assert [segment.audio_seconds for segment in stream.segments] == pytest.approx([7.1, 7.7, 6.2])
    assert all(
        segment.used_history and not segment.splice_points and len(segment.nodes) == 1 for segment in stream.segments
    )


@pytest.mark.parametrize("at", [0.1, 3.0, 10.0, 20.0])
def test_a_crash_is_inaudible(agent: Agent, cluster_nodes: list[Server], undisturbed: bytes, at: float) -> None:
    """SIGKILL at the start, the middle or the end of a segment changes no sample."""
    with retrying_cluster(agent, CLUSTER_SERVICE) as cluster, cluster.stream(TEXT, SEEDED) as stream:
        assert listen(stream, at, lambda: kill(speaker(cluster_nodes, stream))) == undisturbed
    points = [point for segment in stream.segments for point in segment.splice_points]
    assert [(point.seamless, point.shift_seconds) for point in points] == [(True, 0.0)]
    assert all(segment.used_history for segment in stream.segments)


def test_a_crash_in_a_pause(agent: Agent, cluster_nodes: list[Server], voices: Path) -> None:
    """Silence of SSML is sent segment by segment too, and a node that dies in it is replaced inaudibly."""
    text = '<speak>Before it.<break time="3s"/>After it.<break time="500ms"/></speak>'
    with Server("fake:", voices=voices) as server, Cluster(urls=[server.url]) as cluster:
        whole = cluster.synthesize(text, replace(SEEDED, format="pcm")).audio
    with retrying_cluster(agent, CLUSTER_SERVICE) as cluster, cluster.stream(text, SEEDED) as stream:
        assert listen(stream, 2.0, lambda: kill(speaker(cluster_nodes, stream))) == whole
    assert [segment.audio_seconds for segment in stream.segments] == pytest.approx([4.0, 1.4])
    assert all(segment.used_history for segment in stream.segments)


def test_two_of_three_nodes_crash(agent: Agent, cluster_nodes: list[Server], undisturbed: bytes) -> None:
    """One after the other in the same segment: the third speaks the rest."""
    out, killed = b"", []
    with retrying_cluster(agent, CLUSTER_SERVICE) as cluster, cluster.stream(TEXT, SEEDED) as stream:
        for samples in stream:
            out += samples
            victim = speaker(cluster_nodes, stream)
            if len(killed) < 2 and victim not in killed and len(out) > (8.0 + len(killed)) * 48000:
                kill(victim)
                killed.append(victim)
    assert out == undisturbed
    assert len({node for segment in stream.segments for node in segment.nodes}) == 3


def test_a_draining_node_finishes_its_segment(agent: Agent, cluster_nodes: list[Server], undisturbed: bytes) -> None:
    """After SIGTERM the next segment comes from another node, with the whole history."""
    with retrying_cluster(agent, CLUSTER_SERVICE) as cluster, cluster.stream(TEXT, SEEDED) as stream:
        audio = listen(stream, 2.0, lambda: speaker(cluster_nodes, stream).process.send_signal(signal.SIGTERM))
    assert audio == undisturbed
    assert [segment.splice_points for segment in stream.segments] == [(), (), ()]
    assert len({segment.nodes[-1] for segment in stream.segments}) == 2


def test_another_device_continues_at_a_silence(start: Start, agent: Agent, undisturbed: bytes) -> None:
    """It samples other tokens: its audio is spliced in at a silence, and the splice point is reported."""
    [first] = start(SLOW, GLMTTS_REGION="eu")
    start(SLOW + ",drift=0.02", GLMTTS_REGION="us")
    with retrying_cluster(agent, region="eu") as cluster, cluster.stream(TEXT, SEEDED) as stream:
        audio = np.frombuffer(listen(stream, 10.0, lambda: kill(first)), "<i2")
    [[], [point], []] = [segment.splice_points for segment in stream.segments]
    assert not point.seamless
    assert abs(point.shift_seconds) <= 0.5
    start_of_fade = round((SECONDS[0] + point.at_seconds) * 24000)
    assert np.array_equal(audio[:start_of_fade], np.frombuffer(undisturbed, "<i2")[:start_of_fade])
    # The fade ends in a silence.
    end_of_fade = start_of_fade + round(FADE_SECONDS * 24000)
    assert np.abs(audio[end_of_fade - 10 : end_of_fade]).max() < 100
    whole = SECONDS[0] + 1.02 * (SECONDS[1] + SECONDS[2])
    assert len(audio) / 24000 == pytest.approx(whole, abs=0.6)


def test_a_hanging_node_is_replaced(agent: Agent, cluster_nodes: list[Server], undisturbed: bytes) -> None:
    """SIGSTOP: its port accepts and its checks pass, but it sends nothing."""
    with retrying_cluster(agent, CLUSTER_SERVICE) as cluster, cluster.stream(TEXT, SEEDED) as stream:
        audio = listen(stream, 10.0, lambda: os.killpg(speaker(cluster_nodes, stream).process.pid, signal.SIGSTOP))
    assert audio == undisturbed
    stopped, *_ = stream.segments[1].nodes
    kill(next(server for server in cluster_nodes if server.url == stopped))
    assert len({node for segment in stream.segments for node in segment.nodes}) == 2


def test_a_crash_before_the_continuation_token(
    agent: Agent, cluster_nodes: list[Server], undisturbed: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another node makes the segment again for its token; the listener gets none of it twice."""
    get, killed = Api.get, []

    def kill_first(api: Api, node: Node, path: str) -> dict[str, Any]:
        if not killed:
            killed.append(next(server for server in cluster_nodes if server.url == node.url))
            kill(killed[0])
        return get(api, node, path)

    monkeypatch.setattr(Api, "get", kill_first)
    with retrying_cluster(agent, CLUSTER_SERVICE) as cluster, cluster.stream(TEXT, SEEDED) as stream:
        assert b"".join(stream) == undisturbed
    assert [len(segment.nodes) for segment in stream.segments] == [2, 1, 1]
    assert all(segment.used_history and not segment.splice_points for segment in stream.segments)


@pytest.mark.parametrize("has_metadata", [True, False], ids=["with metadata", "without metadata"])
def test_another_version_continues_without_history(agent: Agent, voices: Path, has_metadata: bool) -> None:
    """The last node with the model crashes and stays in discovery; a node with another model continues."""
    versions = ("fake-1", "fake-2")
    with ExitStack() as stack:
        servers = [stack.enter_context(Server(f"{SLOW},version={name}", voices=voices)) for name in versions]
        for server, version in zip(servers, versions, strict=True):
            meta = {"model": "fake", "model_version": version} if has_metadata else {}
            payload = {"ID": version, "Name": "mixed", "Address": "127.0.0.1", "Port": server.port, "Meta": meta}
            agent.call("PUT", "/v1/agent/service/register", payload)
        with retrying_cluster(agent, "mixed") as cluster, cluster.stream(TEXT, SEEDED) as stream:
            audio = listen(stream, 10.0, lambda: kill(speaker(servers, stream)))
    assert len(audio) / 48000 == pytest.approx(sum(SECONDS), abs=0.6)
    assert [segment.used_history for segment in stream.segments] == [True, False, True]


def test_a_query_holds_for_a_whole_stream(start: Start, agent: Agent) -> None:
    """When the last matching node crashes, the stream ends with an error, though other nodes exist."""
    servers = start(SLOW, SLOW + ",version=fake-2")
    query = Query(version="fake-1")
    with (
        retrying_cluster(agent, query=query, retry=RetryPolicy(timeout=4, initial_delay=0.05)) as cluster,
        cluster.stream(TEXT, SEEDED) as stream,
    ):
        with pytest.raises(RetriesExhaustedError):
            listen(stream, 1.0, lambda: kill(servers[0]))
        assert sum(segment.audio_seconds for segment in stream.segments) > 1.0


def test_closing_a_stream(agent: Agent, cluster_nodes: list[Server]) -> None:
    """The node is free at once, and the thread ends."""
    with retrying_cluster(agent, CLUSTER_SERVICE) as cluster, cluster.stream(TEXT, SEEDED) as stream:
        next(stream)
        server = speaker(cluster_nodes, stream)
        assert server.metric("glmtts_in_flight") == 1
    wait_until(lambda: server.metric("glmtts_in_flight") == 0, "the request to be over", 10)
    eventually(lambda: not any(thread.name == "speech-stream" for thread in threading.enumerate()))
    assert list(stream) == []
    assert len(stream.segments) == 1


def test_a_slow_listener_limits_the_buffer(agent: Agent, cluster_nodes: list[Server]) -> None:
    """While they do not read, no segment is requested; afterwards they get everything."""
    with (
        retrying_cluster(agent, CLUSTER_SERVICE) as cluster,
        cluster.stream("One two three. " * 9, SpeechOptions(seed=1), max_buffered_seconds=5.0) as stream,
    ):
        assert stream.sample_rate == 24000
        server = speaker(cluster_nodes, stream)
        eventually(lambda: stream.buffered_seconds > 5.0 and server.metric("glmtts_in_flight") == 0)
        assert len(stream.segments) == 4
        assert sum(map(len, stream)) == round(1.4 * 24000) * 2 * 9
    assert len(stream.segments) == 9


def test_a_rejected_request_fails_at_once(agent: Agent, cluster_nodes: list[Server]) -> None:
    """The first read raises the server's error."""
    for text, options in (("🙂", SpeechOptions()), ("Hello.", SpeechOptions(voice="nobody"))):
        with (
            retrying_cluster(agent, CLUSTER_SERVICE) as cluster,
            cluster.stream(text, options) as stream,
            pytest.raises(Exception, match=r"(400|404) "),
        ):
            next(stream)


def test_the_request_log_of_the_nodes(agent: Agent, cluster_nodes: list[Server]) -> None:
    """All segments are marked as discovered and carry the caller's trace id."""
    trace = f"00-{'ab' * 16}-{'cd' * 8}-01"
    with retrying_cluster(agent, CLUSTER_SERVICE) as cluster, cluster.stream(TEXT, SEEDED, traceparent=trace) as stream:
        list(stream)
    lines = [line for server in cluster_nodes for line in server.log("request") if line.get("trace_id") == "ab" * 16]
    assert [line["route"] for line in lines].count("/tts/stream") == 3
    assert all(line["via_consul"] for line in lines if line["route"] == "/tts/stream")


def test_a_worker_crash(agent: Agent, cluster_nodes: list[Server], undisturbed: bytes) -> None:
    """SIGKILL of the worker alone: the server starts another one; meanwhile the stream continues elsewhere."""
    with retrying_cluster(agent, CLUSTER_SERVICE) as cluster, cluster.stream(TEXT, SEEDED) as stream:
        audio = listen(stream, 3.0, lambda: os.kill(speaker(cluster_nodes, stream).worker(), signal.SIGKILL))
    assert audio == undisturbed
