"""Who owns a service id: this node, from an earlier run, or another one. Against a real agent."""

from __future__ import annotations

import pytest

from scripts.processes import free_ports
from server.discovery.advertise import Endpoint
from server.discovery.metadata import life_check_id, progress_check_id, registration_payload
from tests.helpers.consul import Agent, eventually
from tests.helpers.registration import INFO, Join, own, progressing, settings, stale_service


def test_a_start_removes_its_stale_service(agent: Agent, port: int, join: Join) -> None:
    """What an earlier run left under our id, address and port is removed before loading."""
    agent.call("PUT", "/v1/agent/service/register", stale_service(port, "127.0.0.1"))
    join(agent.address, port).deregister_stale()
    assert agent.call("GET", "/v1/agent/services") == {}


def test_a_restart_replaces_its_stale_service(agent: Agent, port: int, join: Join) -> None:
    """The same id at the same endpoint is replaced, with metadata and checks."""
    agent.call("PUT", "/v1/agent/service/register", stale_service(port, "127.0.0.1"))
    join(agent.address, port).start(INFO, progressing)
    eventually(lambda: agent.listed()[own(port)]["Service"]["Meta"].get("model") == "nano")
    eventually(lambda: agent.passing() == {own(port)})


def test_an_id_in_use_is_a_conflict(agent: Agent, port: int, join: Join, caplog: pytest.LogCaptureFixture) -> None:
    """The same id at another address: the node does not register, removes nothing, logs it once, and joins later."""
    agent.call("PUT", "/v1/agent/service/register", stale_service(port, "10.9.9.9"))
    registration = join(agent.address, port)
    registration.deregister_stale()
    caplog.clear()
    registration.start(INFO, progressing)
    eventually(lambda: registration.counts["failures"] >= 3)
    assert registration.status() == "conflict"
    assert agent.listed()[own(port)]["Service"]["Meta"] == {"stale": "yes"}
    assert [
        record.message for record in caplog.records if "10.9.9.9" in record.message and "node_name" in record.message
    ]
    assert len(caplog.records) == 1
    agent.deregister(own(port))
    eventually(lambda: agent.passing() == {own(port)})


def test_a_node_in_conflict_leaves_the_other_alone(agent: Agent, port: int, join: Join) -> None:
    """Leaving never removes another node's registration."""
    agent.call("PUT", "/v1/agent/service/register", stale_service(port, "10.9.9.9"))
    registration = join(agent.address, port)
    registration.start(INFO, progressing)
    eventually(lambda: registration.status() == "conflict")
    assert registration.deregister()
    assert set(agent.listed()) == {own(port)}


def test_the_id_of_a_node_at_another_agent_is_a_conflict(agent: Agent, port: int, join: Join) -> None:
    """An id is unique in the cluster; but a dead agent would never remove its services."""
    service = {"ID": own(port), "Service": "glm-tts", "Port": port}
    elsewhere = {"Node": "elsewhere", "Address": "10.9.9.9", "Service": service}
    agent.call("PUT", "/v1/catalog/register", elsewhere)
    registration = join(agent.address, port)
    registration.start(INFO, progressing)
    try:
        eventually(lambda: registration.status() == "conflict")
        assert agent.call("GET", "/v1/agent/services") == {}
        dead = {"Node": "elsewhere", "CheckID": "serfHealth", "Name": "serf", "Status": "critical"}
        agent.call("PUT", "/v1/catalog/register", {"Node": "elsewhere", "Address": "10.9.9.9", "Check": dead})
        eventually(lambda: registration.status() == "registered")
    finally:
        agent.call("PUT", "/v1/catalog/deregister", {"Node": "elsewhere"})


def test_two_ports_are_two_nodes(agent: Agent, port: int, join: Join) -> None:
    """Two servers on one host have different ids; one that leaves removes only its own."""
    other = free_ports(1)[0]
    first, second = join(agent.address, port), join(agent.address, other)
    first.start(INFO, progressing)
    second.start(INFO, progressing)
    eventually(lambda: set(agent.listed()) == {own(port), own(other)})
    eventually(lambda: second.status() == "registered")
    second.deregister()
    assert set(agent.call("GET", "/v1/agent/services")) == {own(port)}


def test_two_living_nodes_at_one_address_do_not_evict_each_other(agent: Agent, port: int, join: Join) -> None:
    """As behind NAT, or with a wrong address: both stay, and one that leaves removes only itself."""
    first, second = join(agent.address, port), join(agent.address, port, node_name="other")
    both = {own(port), f"glm-tts-other-{port}"}
    first.start(INFO, progressing)
    second.start(INFO, progressing)
    eventually(lambda: agent.passing() == both)
    second.deregister_stale()
    before = dict(first.counts), dict(second.counts)
    eventually(lambda: first.counts["heartbeats"] > before[0]["heartbeats"] + 5)
    eventually(lambda: second.counts["heartbeats"] > before[1]["heartbeats"] + 5)
    assert agent.passing() == both
    assert (first.counts["registrations"], second.counts["registrations"]) == (1, 1)
    second.deregister()
    assert set(agent.call("GET", "/v1/agent/services")) == {own(port)}


def ghost(agent: Agent, port: int) -> str:
    """Registers what a killed node of another name leaves: its last heartbeat was a moment ago."""
    service_id = f"glm-tts-killed-{port}"
    endpoint = Endpoint("127.0.0.1", port, "127.0.0.1")
    payload = registration_payload(service_id, endpoint, INFO, settings(agent.address, port=port), healthy=True)
    agent.call("PUT", "/v1/agent/service/register", payload)
    for check in (life_check_id(service_id), progress_check_id(service_id)):
        agent.call("PUT", f"/v1/agent/check/pass/{check}")
    return service_id


@pytest.mark.slow
def test_a_ghost_is_gone_within_two_minutes(agent: Agent, port: int, join: Join) -> None:
    """Killed, and replaced by a node of another name that answers at its address: not handed out once its TTL is over,
    and reaped. A stalled engine stays listed."""
    killed = ghost(agent, port)
    join(agent.address, port).start(INFO, progressing)
    stalled = join(agent.address, port, node_name="stalled")
    stalled.start(INFO, lambda: 99.0)
    eventually(lambda: agent.passing() == {own(port)})
    assert killed in agent.listed()
    eventually(lambda: killed not in agent.listed(), within=120)
    assert set(agent.listed()) == {own(port), f"glm-tts-stalled-{port}"}
    assert stalled.counts["registrations"] == 1
