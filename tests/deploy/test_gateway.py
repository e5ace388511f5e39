"""deploy/gateway: the stock openai client, which knows one address, goes through nodes that die, leave and join."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
import requests

from tests.helpers.local_cluster import LocalCluster, local_cluster
from tests.helpers.server import Server, wait_until

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(shutil.which("haproxy", path="/usr/sbin:/usr/bin") is None, reason="haproxy is not installed"),
]

TEXT = "This is one sentence of a request that takes a while. "
CLIENTS = 3


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


class Callers:
    """Clients that speak one request after the other. `errors` has what they raised, `count` what they heard."""

    def __init__(self, client: openai.OpenAI) -> None:
        self.client, self.count = client, 0
        self.errors: list[Exception] = []
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(CLIENTS)]

    def _run(self) -> None:
        while not self._ending.is_set():
            self._speak()

    def _speak(self) -> None:
        try:
            speech = self.client.audio.speech.create(model="tts-1", voice="alloy", input=TEXT, response_format="wav")
            assert speech.content.startswith(b"RIFF")
            self.count += 1
        except Exception as error:  # reported by the test
            self.errors.append(error)

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Returns once the last requests are answered."""
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def hear(self, requests_more: int) -> None:
        """Waits until that many more requests were answered."""
        before = self.count
        wait_until(lambda: self.count >= before + requests_more or self.errors, "the clients to be served")
        assert self.errors == []


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


def test_whole_requests_survive_death_departure_and_arrival(
    cluster: LocalCluster, client: openai.OpenAI, tmp_path: Path
) -> None:
    """The node of the test before is dead. A new one comes; then the other of the first two leaves, and one dies."""
    alive = next(pid for port, pid in cluster.nodes.items() if _answers(port))
    joining = {
        "GLMTTS_CONSUL": "on", "CONSUL_HTTP_ADDR": f"127.0.0.1:{cluster.read_state()['consul']}",
        "GLMTTS_NODE_NAME": "new", "GLMTTS_PROPAGATION_DELAY": "3",
    }  # fmt: skip
    voices = cluster.state / "voices"
    with Callers(client) as callers:
        callers.hear(3)
        with (
            Server("fake:delay=0.05", voices=voices, env=joining) as first,
            Server("fake:delay=0.05", voices=voices, env={**joining, "GLMTTS_NODE_NAME": "newer"}),
        ):
            wait_until(lambda: _passing(cluster) >= 3, "the new nodes to be found")
            time.sleep(2)  # of the gateway's DNS
            os.kill(alive, signal.SIGTERM)
            callers.hear(6)
            os.killpg(first.process.pid, signal.SIGKILL)
            callers.hear(6)
            callers.stop()


def _answers(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/ready", timeout=2).ok
    except requests.RequestException:
        return False


def _passing(cluster: LocalCluster) -> int:
    address = f"http://127.0.0.1:{cluster.read_state()['consul']}/v1/health/service/glm-tts?passing=1"
    return len(requests.get(address, timeout=5).json())


def test_without_nodes_the_error_is_one_that_clients_read(cluster: LocalCluster) -> None:
    """The nodes of the tests before are gone."""
    wait_until(lambda: requests.get(f"{gateway(cluster)}/ready", timeout=5).status_code == 503, "the last node to go")
    answer = requests.get(f"{gateway(cluster)}/ready", timeout=5)
    assert answer.json()["error"]["code"] == "no_nodes"
    assert answer.headers["Retry-After"] == "2"
