"""The states of a node's Consul registration and the transitions between them, as data.

    waiting --failed--> unregistered      conflict, no_address: from every state of a started node
       |                     |               |
       +--------- sent ------+---------------+
                   |
                   v
               unsynced <--outdated, hidden-- registered, stalled, disconnected
                   |                              ^
                accepted                          |
                   v                              |
               accepted --- progressing, stalled -+

`left` and `abandoned` are final.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Status = Literal["disabled", "waiting", "registered", "stalled", "retrying", "conflict", "no_address", "left"]
"""What the log and the metrics report."""

State = Literal[
    "disabled",
    "waiting",
    "unregistered",
    "conflict",
    "no_address",
    "unsynced",
    "accepted",
    "registered",
    "stalled",
    "disconnected",
    "left",
    "abandoned",
]

Event = Literal[
    "outdated",
    "sent",
    "accepted",
    "progressing",
    "stalled",
    "hidden",
    "conflict",
    "no_address",
    "failed",
    "left",
    "abandoned",
]


class Properties(NamedTuple):
    """What follows from a state."""

    status: Status
    may_exist: bool
    """The agent may hold a service of this node: leaving has to deregister it."""
    must_register: bool
    """The next reconciliation registers, whatever the agent holds."""


STATES: dict[State, Properties] = {
    # Consul is switched off.
    "disabled": Properties("disabled", may_exist=False, must_register=False),
    # The node is loading.
    "waiting": Properties("waiting", may_exist=False, must_register=True),
    # The node has started, and nothing was sent to the agent yet.
    "unregistered": Properties("retrying", may_exist=False, must_register=True),
    # Another node has this service id.
    "conflict": Properties("conflict", may_exist=True, must_register=True),
    # Clients could not come to the address that they would get.
    "no_address": Properties("no_address", may_exist=True, must_register=True),
    # The agent holds an outdated service, none, or an unknown one: a request to register had no response.
    "unsynced": Properties("retrying", may_exist=True, must_register=True),
    # The agent holds the service, and the catalogue has not shown it yet.
    "accepted": Properties("retrying", may_exist=True, must_register=False),
    # The catalogue shows the service, and the engine makes progress.
    "registered": Properties("registered", may_exist=True, must_register=False),
    # The catalogue shows the service, and the engine makes no progress.
    "stalled": Properties("stalled", may_exist=True, must_register=False),
    # The catalogue has shown the service, and the last reconciliation failed.
    "disconnected": Properties("retrying", may_exist=True, must_register=False),
    # The service is deregistered.
    "left": Properties("left", may_exist=False, must_register=False),
    # The node has left, and the agent may still hold its service.
    "abandoned": Properties("left", may_exist=True, must_register=False),
}

_STARTED: tuple[State, ...] = (
    *("waiting", "unregistered", "conflict", "no_address", "unsynced"),
    *("accepted", "registered", "stalled", "disconnected"),
)
_ACCEPTED: tuple[State, ...] = ("accepted", "registered", "stalled", "disconnected")
_CONFIRMED: tuple[State, ...] = ("registered", "stalled", "disconnected")

TRANSITIONS: dict[Event, dict[State, State]] = {
    # The agent has lost the service or a check, or the ACL token has changed: the agent goes on syncing a service with
    # the token that registered it.
    "outdated": dict.fromkeys(_ACCEPTED, "unsynced"),
    # A request to register is about to be sent: the agent may hold the service even if the response is lost.
    "sent": dict.fromkeys(_STARTED, "unsynced"),
    # The agent has taken the registration.
    "accepted": {"unsynced": "accepted"},
    # The catalogue shows the service, and the engine makes progress or none.
    "progressing": dict.fromkeys(_ACCEPTED, "registered"),
    "stalled": dict.fromkeys(_ACCEPTED, "stalled"),
    # The catalogue does not show the service. Only one that it has shown before is registered again: each registration
    # delays the first run of the HTTP check.
    "hidden": dict.fromkeys(_CONFIRMED, "unsynced"),
    # Another node has this service id.
    "conflict": dict.fromkeys(_STARTED, "conflict"),
    # Clients could not come to the address that they would get.
    "no_address": dict.fromkeys(_STARTED, "no_address"),
    # The agent is unreachable, denies the request, or something else went wrong.
    "failed": {
        "waiting": "unregistered",
        "conflict": "unsynced",
        "no_address": "unsynced",
        "registered": "disconnected",
        "stalled": "disconnected",
    },
    # The node leaves, and the service is gone from the agent, or not known to be.
    "left": dict.fromkeys(_STARTED, "left"),
    "abandoned": dict.fromkeys(_STARTED, "abandoned"),
}
"""For each event the next state by the current one. A state that an event does not list stays as it is."""


class RegistrationState:
    """The current state, changed by `on(event)` alone."""

    def __init__(self, *, enabled: bool) -> None:
        self.name: State = "waiting" if enabled else "disabled"

    def on(self, event: Event) -> None:
        self.name = TRANSITIONS[event].get(self.name, self.name)

    @property
    def status(self) -> Status:
        return STATES[self.name].status

    @property
    def may_exist(self) -> bool:
        return STATES[self.name].may_exist

    @property
    def must_register(self) -> bool:
        return STATES[self.name].must_register
