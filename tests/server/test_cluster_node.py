"""The real server process as a member of a cluster, with a real Consul agent."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.helpers.consul import Agent, eventually, running_agent
from tests.helpers.server import Server, store_voice

pytestmark = pytest.mark.processes

PROPAGATION = 2.0

Start = Callable[..., Server]


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    with running_agent(tmp_path_factory.mktemp("consul")) as agent:
        yield agent


@pytest.fixture
def start(agent: Agent, tmp_path: Path) -> Iterator[Start]:
    """Starts servers that join the agent's cluster; servers and ids are gone after the test."""
    store_voice(tmp_path / "voices", "default", {"neutral": "a recording"})
    settings = {
        "GLMTTS_CONSUL": "on",
        "CONSUL_HTTP_ADDR": agent.address,
        "GLMTTS_LOOPBACK_CLUSTER": "on",
        "GLMTTS_NODE_NAME": "here",
        "GLMTTS_HEALTH_INTERVAL": "1",
        "GLMTTS_CONSUL_TTL": "2",
        "GLMTTS_PROPAGATION_DELAY": str(PROPAGATION),
    }
    with ExitStack() as stack:

        def run(checkpoint: str = "fake:", **more: str) -> Server:
            server = Server(checkpoint, voices=tmp_path / "voices", env={**settings, **more})
            stack.callback(kill, server)
            return server

        yield run
    for service_id in agent.call("GET", "/v1/agent/services"):
        agent.deregister(service_id)


def kill(server: Server) -> None:
    """SIGKILL to the whole process group: nothing can deregister."""
    if server.process.poll() is None:
        os.killpg(server.process.pid, signal.SIGKILL)
    server.__exit__(None, None, None)


def own(server: Server) -> str:
    return f"glm-tts-here-{server.port}"


def joined(agent: Agent, server: Server) -> None:
    """Waits until the node is passing."""
    eventually(lambda: own(server) in agent.passing() or server.process.poll() is not None, within=90)
    assert server.process.poll() is None, "".join(server.lines)


def say(server: Server, text: str, path: str = "/tts", **more: Any) -> requests.Response:
    return requests.post(server.url + path, json={"text": text, "format": "pcm"}, timeout=60, **more)


def loading(server: Server) -> bool:
    """The node itself reports that it has no model yet (no response reports nothing)."""
    return server.status("/ready") == 503


def test_a_node_registers_only_when_it_is_ready(agent: Agent, start: Start) -> None:
    """While loading it responds to /health and is in no catalogue; a registered node is ready, with its metadata."""
    server = start("fake:load=2")
    seen_loading = 0
    while own(server) not in agent.passing():
        assert server.process.poll() is None, "".join(server.lines)
        listed = set(agent.listed())
        if loading(server):
            assert listed == set()
            seen_loading += server.status("/health") == 200
        time.sleep(0.1)
    assert seen_loading > 0
    assert server.status("/ready") == 200
    assert server.log("Model loaded successfully")
    info = requests.get(server.url + "/info", timeout=5).json()
    meta = agent.listed()[own(server)]["Service"]["Meta"]
    assert meta == info["metadata"]


def test_a_killed_server_stops_passing(agent: Agent, start: Start) -> None:
    """kill -9: the next HTTP check alone removes it from `passing` (the TTL is too long); another node stays."""
    victim, neighbour = start(GLMTTS_CONSUL_TTL="300"), start()
    joined(agent, victim)
    joined(agent, neighbour)
    assert own(victim) != own(neighbour)
    kill(victim)
    eventually(lambda: agent.passing() == {own(neighbour)})
    assert set(agent.listed()) == {own(victim), own(neighbour)}, "dead, but not yet reaped"


def test_no_worker_outlives_its_master(agent: Agent, start: Start) -> None:
    """kill -9 of the master alone: the worker deregisters the node and exits."""
    server = start()
    joined(agent, server)
    worker = Path(f"/proc/{server.worker()}")
    os.kill(server.process.pid, signal.SIGKILL)
    eventually(lambda: agent.listed() == {})
    eventually(lambda: not worker.exists())


def test_a_node_that_loads_again_is_not_passing(agent: Agent, start: Start) -> None:
    """kill -9 of the worker alone: the node is not passing while the next worker loads, and passing afterwards."""
    server = start("fake:load=2", GLMTTS_CONSUL_TTL="300")  # an expired TTL must not hide an old registration
    joined(agent, server)
    first = server.worker()
    os.kill(first, signal.SIGKILL)
    seen_loading = 0
    eventually(lambda: loading(server), within=60)
    # The new worker first removes its id; just before that it already reports "loading".
    eventually(lambda: own(server) not in agent.passing(), within=1.5)
    while own(server) not in (passing := agent.passing()):
        # Loading before and after the query means loading during it.
        seen_loading += loading(server)
        time.sleep(0.1)
    assert passing == {own(server)}
    assert not loading(server)
    assert seen_loading > 0
    assert server.worker() != first


def test_a_failed_load_leaves_no_registration(agent: Agent, start: Start) -> None:
    """A failed load: non-zero exit status, no second attempt, and no registration, not even an old one."""
    server = start("fake:fail")
    stale = {"ID": own(server), "Name": "glm-tts", "Address": "127.0.0.1", "Port": server.port}
    agent.call("PUT", "/v1/agent/service/register", stale)
    assert server.process.wait(90) != 0
    assert agent.listed() == {}
    assert len([line for line in server.lines if "Booting worker" in line]) == 1


def test_sigterm_shuts_down_in_order(agent: Agent, start: Start) -> None:
    """Deregistered first, then serving for the propagation delay, then 503 while a running stream completes."""
    server = start("fake:delay=0.25")
    joined(agent, server)
    server.process.send_signal(signal.SIGTERM)
    eventually(lambda: agent.listed() == {})
    assert (server.status("/health"), server.status("/ready")) == (200, 503)
    assert say(server, "Hi.").status_code == 200
    text = "This sentence takes the slow engine longer than the delay."
    with say(server, text, "/tts/stream", stream=True) as stream:
        assert stream.status_code == 200
        eventually(lambda: server.log("Draining: rejecting new requests"))
        rejection = say(server, "Too late.")
        assert (rejection.status_code, rejection.json()["error"]["code"]) == (503, "draining")
        assert int(rejection.headers["Retry-After"]) > 0
        assert server.status("/health") == 200
        audio = b"".join(stream.iter_content(4096))
    alone = len(text) * 0.1  # seconds: what the fake engine makes of it
    assert len(audio) / 2 / int(stream.headers["X-Sample-Rate"]) == pytest.approx(alone, rel=0.2)
    assert server.process.wait(30) == 0
    assert agent.listed() == {}


def test_a_node_registers_again_at_an_agent_without_data(start: Start, tmp_path: Path) -> None:
    """Consul absent at start, started later, and restarted without data: the node serves, and is found each time."""
    agent = Agent(tmp_path)
    server = start(CONSUL_HTTP_ADDR=agent.address)
    server.wait_ready()
    assert say(server, "Not registered yet.").status_code == 200
    try:
        agent.start()
        joined(agent, server)
        agent.restart()
        joined(agent, server)
        assert server.status("/ready") == 200
    finally:
        agent.stop()


def seconds(server: Server, text: str, **fields: Any) -> float:
    answer = requests.post(server.url + "/tts", json={"text": text, **fields}, timeout=60)
    assert answer.status_code == 200, answer.text
    return float(answer.headers["X-Audio-Seconds"])


def error_message(server: Server, text: str) -> str:
    """The message of an error, "" if there is none."""
    answer = requests.post(server.url + "/tts", json={"text": text}, timeout=60)
    return "" if answer.status_code == 200 else str(answer.json()["error"]["message"])


def segment(server: Server, text: str) -> str:
    answer = requests.post(server.url + "/segments", json={"text": text}, timeout=60)
    return str(answer.json()["segments"][0]["text"])


def test_a_running_node_applies_the_shared_configuration(agent: Agent, start: Start) -> None:
    """Style, limits and pronunciations apply to the next request; an invalid document only shows in log and metrics."""

    def put(key: str, document: Any) -> None:
        agent.call("PUT", f"/v1/kv/team/{key}", document)

    put("limits", {"max_text_chars": 20, "max_concurrent_requests": 100000})
    server = start(GLMTTS_KV_PREFIX="team", GLMTTS_DEFAULT_SPEED="0.5")
    server.wait_ready()
    assert error_message(server, "a" * 21) == "text: expected at most 20 characters, got 21 characters"
    assert seconds(server, "Ten of us.") == pytest.approx(2.0)  # 0.1 s a character, at the settings' 0.5
    put("default_style", {"speed": 2.0})
    eventually(lambda: seconds(server, "Ten of us.") == pytest.approx(0.5))
    assert seconds(server, "Ten of us.", speed=1.0) == pytest.approx(1.0)
    put("g2p_replace", {"us": "<|AH1|><|S|>"})
    eventually(lambda: segment(server, "Ten of us.") == "Ten of <|AH1|><|S|>.")
    put("default_style", {"speed": 9.0})
    refused = {"key": "default_style", "result": "refused"}
    eventually(lambda: server.metric("glmtts_shared_config_changes_total", **refused) == 1)
    assert seconds(server, "Ten.") == pytest.approx(0.2)
    info = requests.get(server.url + "/info", timeout=10).json()
    assert (info["limits"]["max_text_chars"], info["default_style"]) == (20, {"emotion": None, "speed": 2.0})
    agent.call("DELETE", "/v1/kv/team/limits")
    eventually(lambda: error_message(server, "a" * 21) == "")
    assert server.metric("glmtts_shared_config_failures") == 0
    assert server.log("shared configuration: team/limits applied")[0]["max_text_chars"] == 20
    assert len(server.log("shared configuration: team/limits deleted")) == 1
