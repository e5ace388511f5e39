"""A node's membership, against a real agent."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from glmtts.engine.job import EngineInfo
from server.registry import Registry
from server.settings import Settings
from tests.helpers.consul import Agent, eventually, free_ports, running_agent

INFO = EngineInfo("nano", "0.3", ("zh", "en"), (24000,), ("streaming",), "cpu", 1)

Join = Callable[..., Registry]


class Healthy(BaseHTTPRequestHandler):
    """Answers 200 to anything, as /health does."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same rules, in less time."""
    monkeypatch.setattr("server.registry.LONGEST_BEAT", 0.4)
    monkeypatch.setattr("server.registry.BACKOFF_CAP", 0.5)


@pytest.fixture
def port() -> Iterator[int]:
    """A port that answers /health."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Healthy) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def shared_agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    with running_agent(tmp_path_factory.mktemp("consul")) as agent:
        yield agent


@pytest.fixture
def agent(shared_agent: Agent) -> Iterator[Agent]:
    """An agent that holds no service of ours when the test begins."""
    yield shared_agent
    for service_id in shared_agent.call("GET", "/v1/agent/services"):
        shared_agent.deregister(service_id)


def settings(address: str, **more: Any) -> Settings:
    """Short intervals, a cluster on loopback."""
    quick = {"health_interval": 1, "ttl": 2, "loopback_cluster": True, "node_name": "here"}
    return Settings(**{"consul_addr": address, **quick, **more})


@pytest.fixture
def join() -> Iterator[Join]:
    """Makes registries that have left by the end of the test."""
    with ExitStack() as stack:

        def make(
            address: str, port: int, *, age: Callable[[], float] = lambda: 0.0, note: Any = None, **more: Any
        ) -> Registry:
            registry = Registry(settings(address, **more), INFO, age, port, on_change=note)
            stack.callback(registry.deregister)
            return registry

        yield make


def own(port: int) -> str:
    return f"glm-tts-here-{port}"


def test_joins_at_start_and_never_before(agent: Agent, port: int, join: Join) -> None:
    """Nothing is registered before start; after it the node is passing, with the metadata of what was loaded."""
    registry = join(agent.address, port, region="eu")
    registry.remove_own()
    assert (registry.state(), agent.listed()) == ("waiting", {})
    registry.start()
    eventually(lambda: agent.passing() == {own(port)})
    found = agent.listed()[own(port)]
    service = found["Service"]
    assert (service["Address"], service["Port"], service["Tags"]) == (
        "127.0.0.1",
        port,
        ["zh", "en", "sr-24000", "streaming"],
    )
    assert (service["Meta"]["model"], service["Meta"]["region"], service["Meta"]["tier"]) == ("nano", "eu", "cpu")
    assert {check["CheckID"] for check in found["Checks"]} == {
        "serfHealth",
        f"{own(port)}:health",
        f"{own(port)}:progress",
    }
    assert registry.state() == "registered"
    assert registry.counts["registrations"] == 1


def test_on_a_loopback_agent_the_address_is_the_agents(agent: Agent, port: int, join: Join) -> None:
    """With the agent on this host and nothing advertised, Address stays empty: callers fall back to the node's."""
    join(agent.address, port, loopback_cluster=False).start()
    eventually(lambda: agent.passing() == {own(port)})
    assert agent.listed()[own(port)]["Service"]["Address"] == ""


def test_leaving_is_at_once_final_and_repeatable(agent: Agent, port: int, join: Join) -> None:
    """After deregister nothing of ours is there, and nothing brings it back."""
    registry = join(agent.address, port)
    registry.start()
    eventually(lambda: registry.state() == "registered")
    assert registry.deregister()
    assert agent.call("GET", "/v1/agent/services") == {}
    assert registry.deregister()
    registry.start()
    assert registry.state() == "left"
    assert "consul" not in {thread.name for thread in threading.enumerate()}


def test_leaving_before_start_forbids_it(agent: Agent, port: int, join: Join) -> None:
    """SIGTERM while loading: the load that ends later does not register."""
    registry = join(agent.address, port)
    assert registry.deregister()
    registry.start()
    assert registry.state() == "left"
    assert agent.call("GET", "/v1/agent/services") == {}


def test_a_start_removes_its_own_ghost(agent: Agent, port: int, join: Join) -> None:
    """What an earlier life left under our id, address and port is gone before we load."""
    agent.call("PUT", "/v1/agent/service/register", ghost(port, "127.0.0.1"))
    join(agent.address, port).remove_own()
    assert agent.call("GET", "/v1/agent/services") == {}


def test_a_restart_replaces_its_ghost(agent: Agent, port: int, join: Join) -> None:
    """The same id at the same place is replaced, metadata and checks included."""
    agent.call("PUT", "/v1/agent/service/register", ghost(port, "127.0.0.1"))
    join(agent.address, port).start()
    eventually(lambda: agent.listed()[own(port)]["Service"]["Meta"].get("model") == "nano")
    eventually(lambda: agent.passing() == {own(port)})


def ghost(port: int, address: str) -> dict[str, Any]:
    return {"ID": own(port), "Name": "glm-tts", "Address": address, "Port": port, "Meta": {"ghost": "yes"}}


def test_the_id_of_another_is_refused(agent: Agent, port: int, join: Join, caplog: pytest.LogCaptureFixture) -> None:
    """The same id at another address: we do not register, do not remove it, say why once, and join when it goes."""
    agent.call("PUT", "/v1/agent/service/register", ghost(port, "10.9.9.9"))
    registry = join(agent.address, port)
    registry.remove_own()
    caplog.clear()
    registry.start()
    eventually(lambda: registry.counts["failures"] >= 3)
    assert registry.state() == "refused"
    assert agent.listed()[own(port)]["Service"]["Meta"] == {"ghost": "yes"}
    assert [
        record.message for record in caplog.records if "10.9.9.9" in record.message and "node_name" in record.message
    ]
    assert len(caplog.records) == 1
    agent.deregister(own(port))
    eventually(lambda: agent.passing() == {own(port)})


def test_a_node_that_was_refused_leaves_the_other_alone(agent: Agent, port: int, join: Join) -> None:
    """Leaving never removes another's registration."""
    agent.call("PUT", "/v1/agent/service/register", ghost(port, "10.9.9.9"))
    registry = join(agent.address, port)
    registry.start()
    eventually(lambda: registry.state() == "refused")
    assert registry.deregister()
    assert set(agent.listed()) == {own(port)}


def test_the_id_of_another_at_another_agent_is_refused(agent: Agent, port: int, join: Join) -> None:
    """An id is one for the whole cluster; but where the other's agent is dead nobody would ever remove it."""
    theirs = {"ID": own(port), "Service": "glm-tts", "Port": port}
    elsewhere = {"Node": "elsewhere", "Address": "10.9.9.9", "Service": theirs}
    agent.call("PUT", "/v1/catalog/register", elsewhere)
    registry = join(agent.address, port)
    registry.start()
    try:
        eventually(lambda: registry.state() == "refused")
        assert agent.call("GET", "/v1/agent/services") == {}
        dead = {"Node": "elsewhere", "CheckID": "serfHealth", "Name": "serf", "Status": "critical"}
        agent.call("PUT", "/v1/catalog/register", {"Node": "elsewhere", "Address": "10.9.9.9", "Check": dead})
        eventually(lambda: registry.state() == "registered")
    finally:
        agent.call("PUT", "/v1/catalog/deregister", {"Node": "elsewhere"})


def test_two_ports_are_two_nodes(agent: Agent, port: int, join: Join) -> None:
    """Two programs on one host never share an id; one that leaves takes only its own."""
    other = free_ports(1)[0]
    first, second = join(agent.address, port), join(agent.address, other)
    first.start()
    second.start()
    eventually(lambda: set(agent.listed()) == {own(port), own(other)})
    eventually(lambda: second.state() == "registered")
    second.deregister()
    assert set(agent.call("GET", "/v1/agent/services")) == {own(port)}


def test_a_wedged_engine_leaves_discovery_and_comes_back(agent: Agent, port: int, join: Join) -> None:
    """Without progress the TTL check is critical though /health answers; with progress it passes again."""
    age = [0.0]
    registry = join(agent.address, port, age=lambda: age[0])
    registry.start()
    eventually(lambda: agent.passing() == {own(port)})
    age[0] = 99.0
    eventually(lambda: agent.passing() == set())
    status = {check["CheckID"]: check["Status"] for check in agent.listed()[own(port)]["Checks"]}
    assert (status[f"{own(port)}:health"], status[f"{own(port)}:progress"]) == ("passing", "critical")
    eventually(lambda: registry.state() == "stalled")
    age[0] = 0.0
    eventually(lambda: agent.passing() == {own(port)})


def test_what_is_lost_is_made_again(agent: Agent, port: int, join: Join) -> None:
    """A registration or a check that somebody removed is back within a beat, in the catalogue too."""
    registry = join(agent.address, port)
    registry.start()
    eventually(lambda: agent.passing() == {own(port)})
    agent.deregister(own(port))
    eventually(lambda: agent.passing() == {own(port)})
    for check in ("health", "progress"):
        agent.call("PUT", f"/v1/agent/check/deregister/{own(port)}:{check}")
        eventually(lambda: len(agent.listed()[own(port)]["Checks"]) == 3)
    eventually(lambda: agent.passing() == {own(port)})
    assert registry.counts["registrations"] == 4
    node = agent.listed()[own(port)]["Node"]["Node"]
    agent.call("PUT", "/v1/catalog/deregister", {"Node": node, "ServiceID": own(port)})
    eventually(lambda: registry.counts["registrations"] == 5)
    eventually(lambda: agent.passing() == {own(port)})


def test_consul_comes_goes_and_comes_back(
    tmp_path: Path, port: int, join: Join, caplog: pytest.LogCaptureFixture
) -> None:
    """Consul absent at start, gone, back with empty data, restarted at once: joined each time; one note a change."""
    caplog.set_level(logging.INFO)
    states: list[str] = []
    agent = Agent(tmp_path)
    registry = join(agent.address, port, note=lambda state, _: states.append(state))
    registry.start()
    eventually(lambda: registry.counts["failures"] >= 3)
    assert states == ["retrying"]
    assert len([record for record in caplog.records if "retrying" in record.message]) == 1
    try:
        agent.start()
        eventually(lambda: agent.passing() == {own(port)})
        # The note comes last, after the state and the line: who has seen it has all three.
        eventually(lambda: states[-1] == "registered")
        agent.stop()
        eventually(lambda: states[-1] == "retrying")
        agent.start()
        eventually(lambda: agent.passing() == {own(port)})
        eventually(lambda: states[-1] == "registered")
        # An agent that starts may answer before it has a leader: another trouble, another note of the same state.
        assert [state for state, _ in groupby(states)] == ["retrying", "registered"] * 2
        assert len([record for record in caplog.records if "Consul: registered" in record.message]) == 2
        agent.restart()  # may fall between two beats
        eventually(lambda: agent.passing() == {own(port)})
    finally:
        agent.stop()


def test_an_agent_that_hangs_cannot_hold_the_exit(port: int, join: Join) -> None:
    """An agent that takes the connection and never answers: deregister gives up after its time, and says so."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        registry = join(f"127.0.0.1:{silent.getsockname()[1]}", port)
        registry.start()
        silent.accept()[0].close()
        held = silent.accept()[0]
        registry._ours = True  # as if the answer to a registration had been lost
        assert registry.deregister(timeout=0.2) is False
        held.close()


def test_a_switch_turns_discovery_off(agent: Agent, port: int, join: Join) -> None:
    """Disabled: no thread, no registration, and leaving is done at once."""
    registry = join(agent.address, port, consul=False)
    registry.remove_own()
    registry.start()
    assert (registry.state(), registry.deregister()) == ("disabled", True)


def test_impossible_addresses_fail_at_once(agent: Agent) -> None:
    """A wildcard or loopback to be advertised is told to the operator, not to Consul."""
    with pytest.raises(ValueError, match=r"0\.0\.0\.0"):
        Registry(settings(agent.address, advertise="0.0.0.0"), INFO, lambda: 0.0, 7860)
    with pytest.raises(ValueError, match="loopback_cluster"):
        Registry(settings(agent.address, advertise="127.0.0.1", loopback_cluster=False), INFO, lambda: 0.0, 7860)


def test_the_environment_does_not_mislead(agent: Agent, port: int, join: Join, monkeypatch: pytest.MonkeyPatch) -> None:
    """A set address wins over CONSUL_HTTP_ADDR, and no proxy stands between a node and its agent."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("CONSUL_HTTP_ADDR", "http://[::1]:9/nonsense")
    monkeypatch.setenv("GLMTTS_CONSUL_ADDR", agent.address)
    quick = Settings(node_name="here", loopback_cluster=True)
    registry = Registry(quick, INFO, lambda: 0.0, port)
    try:
        registry.start()
        eventually(lambda: registry.state() == "registered")
    finally:
        registry.deregister()


def test_a_surprise_does_not_end_the_membership(agent: Agent, port: int, join: Join) -> None:
    """A fault in what we were given to call is logged and survived."""
    ages: list[float] = []

    def age() -> float:
        ages.append(0.0)
        if len(ages) == 1:
            raise RuntimeError("the engine's clock broke")
        return 0.0

    join(agent.address, port, age=age).start()
    eventually(lambda: agent.passing() == {own(port)})
