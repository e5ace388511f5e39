"""deploy/gateway: a stream whose node dies, and no node at all. scripts/chaos.py has nodes that die, leave and join."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator

import openai
import pytest
import requests

from tests.helpers.local_cluster import LocalCluster, local_cluster
from tests.helpers.server import wait_until

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(shutil.which("haproxy", path="/usr/sbin:/usr/bin") is None, reason="haproxy is not installed"),
]

TEXT = "This is one sentence of a request that takes a while. "


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    state = tmp_path_factory.mktemp("cluster")
    options = ("--nodes", "2", "--checkpoint", "fake:delay=0.05", "--gateway", "--gateway-port", "0", "--no-prometheus")
    with local_cluster(state, *options) as cluster:
        yield cluster


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway(cluster)}/v1", api_key="none") as client:
        yield client


def gateway(cluster: LocalCluster) -> str:
    return f"http://127.0.0.1:{cluster.read_state()['gateway']}"


def test_a_stream_whose_node_dies_is_seen_as_cut(cluster: LocalCluster, client: openai.OpenAI) -> None:
    pids = dict(cluster.nodes)
    with client.audio.speech.with_streaming_response.create(
        model="tts-1", voice="alloy", input=TEXT * 40, response_format="pcm", extra_body={"stream": True}
    ) as response:
        sound = response.iter_bytes(1024)
        next(sound)
        speaking = [port for port in pids if _in_flight(port)]
        assert len(speaking) == 1
        os.kill(pids[speaking[0]], signal.SIGSTOP)  # so that it can't end before it dies
        os.killpg(pids[speaking[0]], signal.SIGKILL)
        with pytest.raises(Exception, match=r"peer closed|incomplete"):
            for _ in sound:
                pass


def _in_flight(port: int) -> bool:
    text = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text
    return "glmtts_in_flight 1.0" in text


def _answers(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/ready", timeout=2).ok
    except requests.RequestException:
        return False


def test_without_nodes_the_error_is_one_that_clients_read(cluster: LocalCluster) -> None:
    """The one that the test before has left is killed."""
    for port in filter(_answers, cluster.nodes):
        os.killpg(cluster.nodes[port], signal.SIGKILL)
    wait_until(lambda: requests.get(f"{gateway(cluster)}/ready", timeout=5).status_code == 503, "the last node to go")
    answer = requests.get(f"{gateway(cluster)}/ready", timeout=5)
    assert answer.json()["error"]["code"] == "no_nodes"
    assert answer.headers["Retry-After"] == "2"
