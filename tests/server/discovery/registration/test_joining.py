"""How a node joins and leaves, against a real agent."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from server.discovery.registration import ConsulRegistration
from server.settings import Settings
from tests.helpers.consul import Agent, eventually, running_agent
from tests.helpers.registration import INFO, Join, own, progressing, settings, stale_service


def test_registers_at_start_and_not_before(agent: Agent, port: int, join: Join) -> None:
    """Nothing is registered before start; then the node is passing, with the metadata of the loaded engine."""
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
        f"{own(port)}:life",
        f"{own(port)}:progress",
    }
    assert registration.status() == "registered"
    assert registration.counts["registrations"] == 1


def test_with_a_local_agent_the_address_is_the_agents(agent: Agent, port: int, join: Join) -> None:
    """With a local agent and no `advertise`, Address is empty: clients use the address of the agent."""
    join(agent.address, port, loopback_cluster=False).start(INFO, progressing)
    eventually(lambda: agent.passing() == {own(port)})
    assert agent.listed()[own(port)]["Service"]["Address"] == ""


def test_leaving_is_final_and_idempotent(agent: Agent, port: int, join: Join) -> None:
    """After deregister nothing is left, and nothing brings it back."""
    registration = join(agent.address, port)
    registration.start(INFO, progressing)
    eventually(lambda: registration.status() == "registered")
    assert registration.deregister()
    assert agent.call("GET", "/v1/agent/services") == {}
    assert registration.deregister()
    registration.start(INFO, progressing)
    assert registration.status() == "left"
    assert "consul" not in {thread.name for thread in threading.enumerate()}


def test_leaving_before_start_prevents_it(agent: Agent, port: int, join: Join) -> None:
    """SIGTERM while loading: the node does not register when the load ends."""
    registration = join(agent.address, port)
    assert registration.deregister()
    registration.start(INFO, progressing)
    assert registration.status() == "left"
    assert agent.call("GET", "/v1/agent/services") == {}


def test_an_agent_that_hangs_does_not_block_the_exit(port: int, join: Join) -> None:
    """An agent that accepts the connection and never responds: deregister gives up after its timeout and says so."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        registration = join(f"127.0.0.1:{silent.getsockname()[1]}", port)
        registration.start(INFO, progressing)
        silent.accept()[0].close()
        held = silent.accept()[0]
        registration._state.on("sent")  # as if the response to a registration had been lost
        assert registration.deregister(timeout=0.2) is False
        held.close()


def test_a_setting_disables_the_registration(agent: Agent, port: int, join: Join) -> None:
    """Disabled: no thread, no registration, nothing to deregister."""
    registration = join(agent.address, port, consul=False)
    registration.deregister_stale()
    registration.start(INFO, progressing)
    assert (registration.status(), registration.deregister()) == ("disabled", True)


def test_unreachable_addresses_fail_at_once(agent: Agent) -> None:
    """A wildcard or loopback in `advertise` is an error, and is never registered."""
    with pytest.raises(ValueError, match=r"0\.0\.0\.0"):
        ConsulRegistration(settings(agent.address, advertise="0.0.0.0"))
    with pytest.raises(ValueError, match="loopback_cluster"):
        ConsulRegistration(settings(agent.address, advertise="127.0.0.1", loopback_cluster=False))


def test_settings_override_the_environment(
    agent: Agent, port: int, join: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The setting overrides CONSUL_HTTP_ADDR, and proxies do not apply to the agent."""
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


def test_a_node_on_loopback_stays_out_of_a_cluster_that_is_not(
    tmp_path: Path, port: int, join: Join, caplog: pytest.LogCaptureFixture
) -> None:
    """Clients would be sent to the agent's address, where nobody listens: it serves alone, says why once, and removes
    what an earlier version registered. A node that listens everywhere is checked at that address."""
    with running_agent(tmp_path, advertise_addr="10.255.255.9") as agent:
        agent.call("PUT", "/v1/agent/service/register", stale_service(port, ""))
        alone = join(agent.address, port, loopback_cluster=False)
        alone.start(INFO, progressing)
        eventually(lambda: alone.counts["failures"] >= 3)
        assert (alone.status(), agent.listed()) == ("no_address", {})
        [record] = [record for record in caplog.records if "10.255.255.9" in record.message]
        assert record.levelname == "WARNING"
        assert "listens on 127.0.0.1 only" in record.message
        assert "--host" in record.message
        alone.deregister()
        everywhere = join(agent.address, port, host="0.0.0.0", loopback_cluster=False, health_timeout=0.5)
        everywhere.start(INFO, progressing)
        eventually(lambda: everywhere.status() == "registered")
        checked = eventually(lambda: check_output(agent, f"{own(port)}:health"))
        assert f"http://10.255.255.9:{port}/health" in checked
        assert agent.passing() == set()


def check_output(agent: Agent, check: str) -> str:
    """What the agent noted when it last ran the check, "" before that."""
    return str(agent.call("GET", "/v1/agent/checks")[check]["Output"])


def test_loopback_is_refused_if_the_advertised_address_is_not(agent: Agent, port: int, join: Join) -> None:
    """The same with an address from the settings."""
    registration = join(agent.address, port, advertise="10.0.0.5")
    registration.start(INFO, progressing)
    eventually(lambda: registration.status() == "no_address")
    assert agent.listed() == {}
