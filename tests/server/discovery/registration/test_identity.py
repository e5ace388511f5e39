"""Whose an id is: a node's own from an earlier life, or another's. Against a real agent."""

from __future__ import annotations

import pytest

from tests.helpers.consul import Agent, eventually, free_ports
from tests.helpers.registration import INFO, Join, ghost, own, progressing


def test_a_start_removes_its_own_ghost(agent: Agent, port: int, join: Join) -> None:
    """What an earlier life left under our id, address and port is gone before we load."""
    agent.call("PUT", "/v1/agent/service/register", ghost(port, "127.0.0.1"))
    join(agent.address, port).deregister_stale()
    assert agent.call("GET", "/v1/agent/services") == {}


def test_a_restart_replaces_its_ghost(agent: Agent, port: int, join: Join) -> None:
    """The same id at the same place is replaced, metadata and checks included."""
    agent.call("PUT", "/v1/agent/service/register", ghost(port, "127.0.0.1"))
    join(agent.address, port).start(INFO, progressing)
    eventually(lambda: agent.listed()[own(port)]["Service"]["Meta"].get("model") == "nano")
    eventually(lambda: agent.passing() == {own(port)})


def test_the_id_of_another_is_refused(agent: Agent, port: int, join: Join, caplog: pytest.LogCaptureFixture) -> None:
    """The same id at another address: we do not register, do not remove it, say why once, and join when it goes."""
    agent.call("PUT", "/v1/agent/service/register", ghost(port, "10.9.9.9"))
    registration = join(agent.address, port)
    registration.deregister_stale()
    caplog.clear()
    registration.start(INFO, progressing)
    eventually(lambda: registration.counts["failures"] >= 3)
    assert registration.status() == "conflict"
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
    registration = join(agent.address, port)
    registration.start(INFO, progressing)
    eventually(lambda: registration.status() == "conflict")
    assert registration.deregister()
    assert set(agent.listed()) == {own(port)}


def test_the_id_of_another_at_another_agent_is_refused(agent: Agent, port: int, join: Join) -> None:
    """An id is one for the whole cluster; but where the other's agent is dead nobody would ever remove it."""
    theirs = {"ID": own(port), "Service": "glm-tts", "Port": port}
    elsewhere = {"Node": "elsewhere", "Address": "10.9.9.9", "Service": theirs}
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
    """Two programs on one host never share an id; one that leaves takes only its own."""
    other = free_ports(1)[0]
    first, second = join(agent.address, port), join(agent.address, other)
    first.start(INFO, progressing)
    second.start(INFO, progressing)
    eventually(lambda: set(agent.listed()) == {own(port), own(other)})
    eventually(lambda: second.status() == "registered")
    second.deregister()
    assert set(agent.call("GET", "/v1/agent/services")) == {own(port)}
