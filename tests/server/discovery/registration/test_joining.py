"""How a node joins and leaves, against a real agent."""

from __future__ import annotations

import socket
import threading

import pytest

from server.discovery.registration import ConsulRegistration
from server.settings import Settings
from tests.helpers.consul import Agent, eventually
from tests.helpers.registration import INFO, Join, own, progressing, settings


def test_joins_at_start_and_never_before(agent: Agent, port: int, join: Join) -> None:
    """Nothing is registered before start; after it the node is passing, with the metadata of what was loaded."""
    registration = join(agent.address, port, region="eu")
    registration.deregister_stale()
    assert (registration.status(), agent.listed()) == ("waiting", {})
    registration.start(INFO, progressing)
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
    assert registration.status() == "registered"
    assert registration.counts["registrations"] == 1


def test_on_a_loopback_agent_the_address_is_the_agents(agent: Agent, port: int, join: Join) -> None:
    """With the agent on this host and nothing advertised, Address stays empty: callers fall back to the node's."""
    join(agent.address, port, loopback_cluster=False).start(INFO, progressing)
    eventually(lambda: agent.passing() == {own(port)})
    assert agent.listed()[own(port)]["Service"]["Address"] == ""


def test_leaving_is_at_once_final_and_repeatable(agent: Agent, port: int, join: Join) -> None:
    """After deregister nothing of ours is there, and nothing brings it back."""
    registration = join(agent.address, port)
    registration.start(INFO, progressing)
    eventually(lambda: registration.status() == "registered")
    assert registration.deregister()
    assert agent.call("GET", "/v1/agent/services") == {}
    assert registration.deregister()
    registration.start(INFO, progressing)
    assert registration.status() == "left"
    assert "consul" not in {thread.name for thread in threading.enumerate()}


def test_leaving_before_start_forbids_it(agent: Agent, port: int, join: Join) -> None:
    """SIGTERM while loading: the load that ends later does not register."""
    registration = join(agent.address, port)
    assert registration.deregister()
    registration.start(INFO, progressing)
    assert registration.status() == "left"
    assert agent.call("GET", "/v1/agent/services") == {}


def test_an_agent_that_hangs_cannot_hold_the_exit(port: int, join: Join) -> None:
    """An agent that takes the connection and never answers: deregister gives up after its time, and says so."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        registration = join(f"127.0.0.1:{silent.getsockname()[1]}", port)
        registration.start(INFO, progressing)
        silent.accept()[0].close()
        held = silent.accept()[0]
        registration._state.on("sent")  # as if the answer to a registration had been lost
        assert registration.deregister(timeout=0.2) is False
        held.close()


def test_a_switch_turns_discovery_off(agent: Agent, port: int, join: Join) -> None:
    """Disabled: no thread, no registration, and leaving is done at once."""
    registration = join(agent.address, port, consul=False)
    registration.deregister_stale()
    registration.start(INFO, progressing)
    assert (registration.status(), registration.deregister()) == ("disabled", True)


def test_impossible_addresses_fail_at_once(agent: Agent) -> None:
    """A wildcard or loopback to be advertised is told to the operator, not to Consul."""
    with pytest.raises(ValueError, match=r"0\.0\.0\.0"):
        ConsulRegistration(settings(agent.address, advertise="0.0.0.0"))
    with pytest.raises(ValueError, match="loopback_cluster"):
        ConsulRegistration(settings(agent.address, advertise="127.0.0.1", loopback_cluster=False))


def test_the_environment_does_not_mislead(agent: Agent, port: int, join: Join, monkeypatch: pytest.MonkeyPatch) -> None:
    """A set address wins over CONSUL_HTTP_ADDR, and no proxy stands between a node and its agent."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("CONSUL_HTTP_ADDR", "http://[::1]:9/nonsense")
    monkeypatch.setenv("GLMTTS_CONSUL_ADDR", agent.address)
    registration = ConsulRegistration(Settings(port=port, node_name="here", loopback_cluster=True))
    try:
        registration.start(INFO, progressing)
        eventually(lambda: registration.status() == "registered")
    finally:
        registration.deregister()
