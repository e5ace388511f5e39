"""How a node stays registered: with a stalled engine, lost registrations and an absent Consul. Against a real agent."""

from __future__ import annotations

import logging
from itertools import groupby
from pathlib import Path

import pytest

from tests.helpers.consul import Agent, eventually
from tests.helpers.registration import INFO, Join, own, progressing


def test_a_stalled_engine_is_critical_until_it_recovers(agent: Agent, port: int, join: Join) -> None:
    """Without progress the TTL check is critical although /health responds; with progress it passes again."""
    age = [0.0]
    registration = join(agent.address, port)
    registration.start(INFO, lambda: age[0])
    eventually(lambda: agent.passing() == {own(port)})
    age[0] = 99.0
    eventually(lambda: agent.passing() == set())
    status = {check["CheckID"]: check["Status"] for check in agent.listed()[own(port)]["Checks"]}
    assert (status[f"{own(port)}:health"], status[f"{own(port)}:progress"]) == ("passing", "critical")
    eventually(lambda: registration.status() == "stalled")
    age[0] = 0.0
    eventually(lambda: agent.passing() == {own(port)})


def test_a_lost_registration_is_restored(agent: Agent, port: int, join: Join) -> None:
    """A registration or check that somebody removed is back within a heartbeat, in the catalogue too."""
    registration = join(agent.address, port)
    registration.start(INFO, progressing)
    eventually(lambda: agent.passing() == {own(port)})
    agent.deregister(own(port))
    eventually(lambda: agent.passing() == {own(port)})
    for check in ("health", "progress"):
        agent.call("PUT", f"/v1/agent/check/deregister/{own(port)}:{check}")
        eventually(lambda: len(agent.listed()[own(port)]["Checks"]) == 4)
    eventually(lambda: agent.passing() == {own(port)})
    assert registration.counts["registrations"] == 4
    node = agent.listed()[own(port)]["Node"]["Node"]
    agent.call("PUT", "/v1/catalog/deregister", {"Node": node, "ServiceID": own(port)})
    eventually(lambda: agent.passing() == {own(port)})  # by us, or by the agent if it syncs a check just then


def test_consul_comes_goes_and_comes_back(
    tmp_path: Path, port: int, join: Join, caplog: pytest.LogCaptureFixture
) -> None:
    """Consul absent at start, gone, back without data, restarted: it joins each time, with one log line per change."""
    caplog.set_level(logging.INFO)
    states: list[str] = []
    agent = Agent(tmp_path)
    registration = join(agent.address, port, on_change=lambda status, _: states.append(status))
    registration.start(INFO, progressing)
    eventually(lambda: registration.counts["failures"] >= 3)
    assert states == ["retrying"]
    assert len([record for record in caplog.records if "retrying" in record.message]) == 1
    try:
        agent.start()
        eventually(lambda: agent.passing() == {own(port)})
        # on_change comes last, after the status and the log line.
        eventually(lambda: states[-1] == "registered")
        agent.stop()
        eventually(lambda: states[-1] == "retrying")
        agent.start()
        eventually(lambda: agent.passing() == {own(port)})
        eventually(lambda: states[-1] == "registered")
        # An agent that starts may respond before it has a leader: another kind of error with the same status.
        assert [state for state, _ in groupby(states)] == ["retrying", "registered"] * 2
        assert len([record for record in caplog.records if "Consul: registered" in record.message]) == 2
        agent.restart()  # possibly between two heartbeats
        eventually(lambda: agent.passing() == {own(port)})
    finally:
        agent.stop()


def test_an_unexpected_error_does_not_end_the_registration(agent: Agent, port: int, join: Join) -> None:
    """An error in `stalled_seconds` is logged and survived."""
    ages: list[float] = []

    def age() -> float:
        ages.append(0.0)
        if len(ages) == 1:
            raise RuntimeError("the clock of the engine is broken")
        return 0.0

    registration = join(agent.address, port)
    registration.start(INFO, age)
    eventually(lambda: agent.passing() == {own(port)})
    assert len(ages) > 1
    assert registration.counts["failures"] >= 1


@pytest.mark.slow
def test_a_node_that_passed_is_back_before_the_agent_asks(agent: Agent, port: int, join: Join) -> None:
    """A registration that was lost comes back as it was: the first run of an HTTP check can take a whole interval."""
    registration = join(agent.address, port, health_interval=10)
    registration.start(INFO, progressing)
    eventually(lambda: agent.passing() == {own(port)})
    heartbeats = registration.counts["heartbeats"]
    eventually(lambda: registration.counts["heartbeats"] > heartbeats + 1)

    def unasked() -> bool:
        agent.deregister(own(port))
        eventually(lambda: agent.passing() == {own(port)})
        return agent.call("GET", "/v1/agent/checks")[f"{own(port)}:health"]["Output"] == ""

    assert any(unasked() for _ in range(3)), "the agent may ask at any moment"
