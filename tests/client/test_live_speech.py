"""Speech of a text while it is being written, with a real node."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import wave
from collections.abc import Iterator
from pathlib import Path

import pytest
from glmtts_client import Cluster, NodeError, ResponseError, RetriesExhaustedError, RetryPolicy, SpeechOptions

from scripts.processes import free_ports
from tests.helpers.consul import ROOT
from tests.helpers.server import Server, wait_until

pytestmark = pytest.mark.processes

TEXT = "Hello there. How are you?"


@pytest.fixture(scope="module")
def server(voices: Path) -> Iterator[Server]:
    with Server("fake:delay=0.02", voices=voices) as running:
        yield running


@pytest.fixture
def cluster(server: Server) -> Iterator[Cluster]:
    with Cluster(urls=[server.url]) as cluster:
        yield cluster


def test_pieces_sound_like_the_whole(cluster: Cluster) -> None:
    """With the same options, sample for sample; the sentences come with it."""
    options = SpeechOptions(seed=3, sample_rate=16000, format="pcm")
    with cluster.follow(iter(TEXT), options) as speech:
        audio = b"".join(speech)
        assert speech.sample_rate == 16000
        assert [sentence["text"].strip() for sentence in speech.sentences] == ["Hello there.", "How are you?"]
    assert audio == cluster.synthesize(TEXT, options).audio


def test_sound_comes_before_the_text_ends(cluster: Cluster) -> None:
    """The second sentence is written once the first one is heard."""
    heard = threading.Event()

    def pieces() -> Iterator[str]:
        yield "Hello there. "
        wait_until(heard.is_set, "the first sound")
        yield "How are you?"

    with cluster.follow(pieces()) as speech:
        for _ in speech:
            heard.set()
        assert len(speech.sentences) == 2


def test_closing_stops_the_work(server: Server, cluster: Cluster) -> None:
    """Whoever is interrupted falls silent, and the node has nothing more to do."""
    with cluster.follow(["This goes on. " * 200]) as speech:
        next(speech)
    wait_until(lambda: server.metric("glmtts_in_flight") == 0, "the work to stop", seconds=5)


def test_a_node_that_stops_is_given_up(voices: Path) -> None:
    """Long before its connection would time out: the program hears of it while the node is still there."""
    with (
        Server("fake:delay=0.1", voices=voices) as node,
        Cluster(urls=[node.url]) as cluster,
        cluster.follow(["This goes on. " * 200]) as speech,
    ):
        next(speech)
        os.killpg(node.process.pid, signal.SIGSTOP)
        try:
            with pytest.raises(NodeError, match="no sign of life"):
                list(speech)
        finally:
            os.killpg(node.process.pid, signal.SIGCONT)


def test_errors_are_those_of_requests(cluster: Cluster) -> None:
    """Of the server, of the text's source, and of a node that is not there."""
    with cluster.follow(["Hello."], SpeechOptions(voice="nobody")) as speech, pytest.raises(ResponseError) as unknown:
        next(speech)
    assert unknown.value.code == "unknown_voice"

    def broken() -> Iterator[str]:
        yield "Hello. "
        raise RuntimeError("the model broke")

    with cluster.follow(broken()) as speech, pytest.raises(RuntimeError, match="the model broke"):
        list(speech)
    with (
        Cluster(urls=[f"http://127.0.0.1:{free_ports(1)[0]}"], retry=RetryPolicy(timeout=1)) as nowhere,
        nowhere.follow(["Hello."]) as speech,
        pytest.raises(RetriesExhaustedError),
    ):
        next(speech)


def test_say_follows_standard_input(server: Server, tmp_path: Path) -> None:
    """The file has the speech of all that was written."""
    file = tmp_path / "a.wav"
    command = [sys.executable, "-m", "glmtts_client", "say", "--follow", "-o", str(file), "--url", server.url]
    run = subprocess.run(command, input=TEXT, cwd=ROOT / "client", capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    with wave.open(str(file)) as audio:
        assert audio.getnframes() / audio.getframerate() == pytest.approx(0.1 * (len(TEXT) - 1), abs=0.2)
    assert "s of speech from http" in run.stderr
    both = subprocess.run([*command, "Hello."], cwd=ROOT / "client", capture_output=True, text=True, timeout=60)
    assert both.returncode == 2
