"""A stream over real nodes that die, leave and differ: compared with an undisturbed run, sample by sample."""

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

from tests.client.conftest import CLUSTER_SERVICE, SLOW, Start, kill, patient
from tests.helpers.consul import Agent, eventually
from tests.helpers.server import Server, wait_until

TEXT = (
    "This is the first sentence of a story that is long enough to be broken. "
    "Its second sentence is just as long, so that one can die in the middle of it! "
    "The third one ends it, as all things end, whoever speaks them."
)
SECONDS = [7.1, 7.7, 6.2]
SEEDED = SpeechOptions(seed=7, sample_rate=24000)


@pytest.fixture(scope="module")
def undisturbed(voices: Path) -> bytes:
    """What a node of its own says, in one piece."""
    with Server("fake:", voices=voices) as server, Cluster(urls=[server.url]) as cluster:
        return cluster.synthesize(TEXT, replace(SEEDED, format="pcm")).audio


def listen(stream: SpeechStream, at: float, then: Callable[[], None]) -> bytes:
    """All samples; when `at` seconds of them have been heard, `then` happens."""
    out, pending = b"", True
    for samples in stream:
        out += samples
        if pending and len(out) >= at * 2 * stream.sample_rate:
            pending = False
            then()
    assert not pending
    return out


def speaker(servers: list[Server], stream: SpeechStream) -> Server:
    """The node that is speaking now."""
    return next(server for server in servers if server.url == stream.segments[-1].nodes[-1])


def test_a_stream_is_what_one_node_says(agent: Agent, cluster_nodes: list[Server], undisturbed: bytes) -> None:
    """Segment by segment over the cluster, with nothing in between: the samples of one request to one node."""
    with patient(agent, CLUSTER_SERVICE) as cluster, cluster.stream(TEXT, SEEDED) as stream:
        assert stream.sample_rate == 24000
        assert b"".join(stream) == undisturbed
    assert [segment.audio_seconds for segment in stream.segments] == pytest.approx([7.1, 7.7, 6.2])
    assert all(
        segment.used_history and not segment.splice_points and len(segment.nodes) == 1 for segment in stream.segments
    )


@pytest.mark.parametrize("at", [0.1, 3.0, 10.0, 20.0])
def test_a_killed_node_is_not_heard(agent: Agent, cluster_nodes: list[Server], undisturbed: bytes, at: float) -> None:
    """SIGKILL in mid-segment, at its start or its end: the same samples, none twice, none missing."""
    with patient(agent, CLUSTER_SERVICE) as cluster, cluster.stream(TEXT, SEEDED) as stream:
        assert listen(stream, at, lambda: kill(speaker(cluster_nodes, stream))) == undisturbed
    joins = [join for segment in stream.segments for join in segment.splice_points]
    assert [(join.seamless, join.shift_seconds) for join in joins] == [(True, 0.0)]
    assert all(segment.used_history for segment in stream.segments)


def test_two_of_three_nodes_may_die(agent: Agent, cluster_nodes: list[Server], undisturbed: bytes) -> None:
    """One after the other in the same segment: the last one says the rest."""
    out, killed = b"", []
    with patient(agent, CLUSTER_SERVICE) as cluster, cluster.stream(TEXT, SEEDED) as stream:
        for samples in stream:
            out += samples
            victim = speaker(cluster_nodes, stream)
            if len(killed) < 2 and victim not in killed and len(out) > (8.0 + len(killed)) * 48000:
                kill(victim)
                killed.append(victim)
    assert out == undisturbed
    assert len({node for segment in stream.segments for node in segment.nodes}) == 3


def test_a_node_that_leaves_finishes_its_segment(agent: Agent, cluster_nodes: list[Server], undisturbed: bytes) -> None:
    """SIGTERM: what it has begun it ends; the next segment comes from another node, with all the history."""
    with patient(agent, CLUSTER_SERVICE) as cluster, cluster.stream(TEXT, SEEDED) as stream:
        heard = listen(stream, 2.0, lambda: speaker(cluster_nodes, stream).process.send_signal(signal.SIGTERM))
    assert heard == undisturbed
    assert [segment.splice_points for segment in stream.segments] == [(), (), ()]
    assert len({segment.nodes[-1] for segment in stream.segments}) == 2


def test_another_device_takes_over_at_a_silence(start: Start, agent: Agent, undisturbed: bytes) -> None:
    """It draws other tokens: what was heard stays, the rest is its own, and the join is reported."""
    [first] = start(SLOW, GLMTTS_REGION="eu")
    start(SLOW + ",drift=0.02", GLMTTS_REGION="us")
    with patient(agent, region="eu") as cluster, cluster.stream(TEXT, SEEDED) as stream:
        heard = np.frombuffer(listen(stream, 10.0, lambda: kill(first)), "<i2")
    [[], [join], []] = [segment.splice_points for segment in stream.segments]
    assert not join.seamless
    assert abs(join.shift_seconds) <= 0.5
    begun = round((SECONDS[0] + join.at_seconds) * 24000)
    assert np.array_equal(heard[:begun], np.frombuffer(undisturbed, "<i2")[:begun])
    # The join is at a silence: the fade ends in it.
    assert np.abs(heard[begun + round(FADE_SECONDS * 24000) - 10 : begun + round(FADE_SECONDS * 24000)]).max() < 100
    whole = SECONDS[0] + 1.02 * (SECONDS[1] + SECONDS[2])
    assert len(heard) / 24000 == pytest.approx(whole, abs=0.6)


def test_a_node_that_hangs_is_given_up(
    agent: Agent, cluster_nodes: list[Server], undisturbed: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGSTOP: its port still accepts and its checks still pass, but it is silent for too long."""
    monkeypatch.setattr("glmtts_client.api.STREAM_IDLE_TIMEOUT", 2.0)
    with patient(agent, CLUSTER_SERVICE) as cluster, cluster.stream(TEXT, SEEDED) as stream:
        heard = listen(stream, 10.0, lambda: os.killpg(speaker(cluster_nodes, stream).process.pid, signal.SIGSTOP))
    assert heard == undisturbed
    stopped, *_ = stream.segments[1].nodes
    kill(next(server for server in cluster_nodes if server.url == stopped))
    assert len({node for segment in stream.segments for node in segment.nodes}) == 2


def test_a_node_may_die_when_all_was_said(
    agent: Agent, cluster_nodes: list[Server], undisturbed: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it has told what the next segment needs: another makes the segment again, and nothing of it is heard."""
    asked, killed = Api.get, []

    def kill_first(api: Api, node: Node, path: str) -> dict[str, Any]:
        if not killed:
            killed.append(next(server for server in cluster_nodes if server.url == node.url))
            kill(killed[0])
        return asked(api, node, path)

    monkeypatch.setattr(Api, "get", kill_first)
    with patient(agent, CLUSTER_SERVICE) as cluster, cluster.stream(TEXT, SEEDED) as stream:
        assert b"".join(stream) == undisturbed
    assert [len(segment.nodes) for segment in stream.segments] == [2, 1, 1]
    assert all(segment.used_history and not segment.splice_points for segment in stream.segments)


@pytest.mark.parametrize("told", [True, False], ids=["as its metadata say", "though it does not say so"])
def test_another_version_takes_over_without_history(agent: Agent, voices: Path, told: bool) -> None:
    """Where the last node with the model dies, and stays in discovery for long, another goes on as well as it can."""
    versions = ("fake-1", "fake-2")
    with ExitStack() as stack:
        servers = [stack.enter_context(Server(f"{SLOW},version={name}", voices=voices)) for name in versions]
        for server, version in zip(servers, versions, strict=True):
            meta = {"model": "fake", "model_version": version} if told else {}
            payload = {"ID": version, "Name": "mixed", "Address": "127.0.0.1", "Port": server.port, "Meta": meta}
            agent.call("PUT", "/v1/agent/service/register", payload)
        with patient(agent, "mixed") as cluster, cluster.stream(TEXT, SEEDED) as stream:
            heard = listen(stream, 10.0, lambda: kill(speaker(servers, stream)))
    assert len(heard) / 48000 == pytest.approx(sum(SECONDS), abs=0.6)
    assert [segment.used_history for segment in stream.segments] == [True, False, True]


def test_a_filter_is_not_given_up_for_a_stream(start: Start, agent: Agent) -> None:
    """When the last admitted node dies, the stream breaks with an error after what it said, though others are there."""
    servers = start(SLOW, SLOW + ",version=fake-2")
    query = Query(version="fake-1")
    with (
        patient(agent, query=query, retry=RetryPolicy(deadline=4, initial_delay=0.05)) as cluster,
        cluster.stream(TEXT, SEEDED) as stream,
    ):
        with pytest.raises(RetriesExhaustedError):
            listen(stream, 1.0, lambda: kill(servers[0]))
        assert sum(segment.audio_seconds for segment in stream.segments) > 1.0


def test_a_listener_who_goes_away_stops_it(agent: Agent, cluster_nodes: list[Server]) -> None:
    """The node is free at once, and the thread that spoke ahead is gone."""
    with patient(agent, CLUSTER_SERVICE) as cluster, cluster.stream(TEXT, SEEDED) as stream:
        next(stream)
        server = speaker(cluster_nodes, stream)
        assert server.metric("glmtts_in_flight") == 1
    wait_until(lambda: server.metric("glmtts_in_flight") == 0, "the request to be over", 10)
    eventually(lambda: not any(thread.name == "speech-stream" for thread in threading.enumerate()))
    assert list(stream) == []
    assert len(stream.segments) == 1


def test_no_more_is_spoken_ahead_than_is_wanted(agent: Agent, cluster_nodes: list[Server]) -> None:
    """A listener who stops to listen holds up his own stream only, and gets all when he goes on."""
    with (
        patient(agent, CLUSTER_SERVICE) as cluster,
        cluster.stream("One two three. " * 9, SpeechOptions(seed=1), max_buffered_seconds=5.0) as stream,
    ):
        assert stream.sample_rate == 24000
        server = speaker(cluster_nodes, stream)
        eventually(lambda: stream.buffered_seconds > 5.0 and server.metric("glmtts_in_flight") == 0)
        assert len(stream.segments) == 4
        assert sum(map(len, stream)) == round(1.4 * 24000) * 2 * 9
    assert len(stream.segments) == 9


def test_what_cannot_be_spoken_is_said_at_once(agent: Agent, cluster_nodes: list[Server]) -> None:
    """A request at fault fails with the server's own words, when the first sample is asked for."""
    for text, options in (("🙂", SpeechOptions()), ("Hello.", SpeechOptions(voice="nobody"))):
        with (
            patient(agent, CLUSTER_SERVICE) as cluster,
            cluster.stream(text, options) as stream,
            pytest.raises(Exception, match=r"(400|404) "),
        ):
            next(stream)


def test_the_log_of_the_nodes_tells_how_it_came(agent: Agent, cluster_nodes: list[Server]) -> None:
    """Discovered traffic is marked as such, and the caller's trace goes through all segments."""
    trace = f"00-{'ab' * 16}-{'cd' * 8}-01"
    with patient(agent, CLUSTER_SERVICE) as cluster, cluster.stream(TEXT, SEEDED, traceparent=trace) as stream:
        list(stream)
    lines = [line for server in cluster_nodes for line in server.log("request") if line.get("trace_id") == "ab" * 16]
    assert [line["route"] for line in lines].count("/tts/stream") == 3
    assert all(line["via_consul"] for line in lines if line["route"] == "/tts/stream")


def test_the_worker_may_die_too(agent: Agent, cluster_nodes: list[Server], undisturbed: bytes) -> None:
    """SIGKILL of the worker alone: its program starts another, and the stream goes on meanwhile."""
    with patient(agent, CLUSTER_SERVICE) as cluster, cluster.stream(TEXT, SEEDED) as stream:
        heard = listen(stream, 3.0, lambda: os.kill(speaker(cluster_nodes, stream).worker(), signal.SIGKILL))
    assert heard == undisturbed
