"""The registration's state machine, for any order of events."""

from __future__ import annotations

from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from server.discovery.registration_state import STATES, TRANSITIONS, Event, RegistrationState, State, Status

EVENTS = get_args(Event)
ENDS = ("left", "abandoned")
ends = st.sampled_from(ENDS)
steps = st.sampled_from(
    [["sent"], ["sent", "accepted"], *([event] for event in EVENTS if event not in ("sent", "accepted", *ENDS))]
)
histories = st.lists(steps, max_size=20).map(lambda chosen: [event for step in chosen for event in step])
"""What can happen to a running node: "accepted" is the response to "sent"."""


def after(*events: Event, enabled: bool = True) -> RegistrationState:
    state = RegistrationState(enabled=enabled)
    for event in events:
        state.on(event)
    return state


def test_every_state_is_reachable_and_has_its_properties() -> None:
    """All rows of the tables are reachable, and each status has a state."""
    assert set(STATES) == set(get_args(State))
    assert set(TRANSITIONS) == set(EVENTS)
    assert {properties.status for properties in STATES.values()} == set(get_args(Status))
    reached: set[State] = {"waiting", "disabled"}
    for _ in STATES:
        reached |= {after for row in TRANSITIONS.values() for before, after in row.items() if before in reached}
    assert reached == set(STATES)


@given(histories, ends)
def test_leaving_is_final(history: list[Event], end: Event) -> None:
    """No event brings back a node that has left."""
    state = after(*history, end)
    assert state.status == "left"
    assert state.may_exist == (end == "abandoned")
    assert after(*history, end, *history).name == state.name


@given(histories)
def test_a_service_that_was_sent_may_exist_until_the_node_has_left(history: list[Event]) -> None:
    """Even if the response was lost: leaving must look for it."""
    state = after(*history)
    if "sent" in history:
        assert state.may_exist
    if not state.may_exist:
        assert state.must_register


@given(histories)
def test_registered_means_that_the_agent_has_accepted_it(history: list[Event]) -> None:
    """A node is registered only after the agent has accepted its last request, and then does not register again."""
    state = after(*history)
    if state.status in ("registered", "stalled"):
        assert not state.must_register
        sent = len(history) - history[::-1].index("sent")
        assert "accepted" in history[sent:]


def test_a_service_that_was_never_shown_is_not_registered_again() -> None:
    """Registering again would delay the HTTP check; a service that was shown before is registered once more."""
    state = after("sent", "accepted", "hidden")
    assert not state.must_register
    state.on("progressing")
    state.on("hidden")
    assert state.must_register
    for event in ("sent", "accepted", "hidden"):
        state.on(event)
    assert not state.must_register


@given(histories)
def test_a_disabled_registration_stays_disabled(history: list[Event]) -> None:
    """No event changes `disabled`."""
    assert after(*history, "left", enabled=False).name == "disabled"
