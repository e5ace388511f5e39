"""What can go wrong: each fault with what it does to a herd, what ends it, and what it needs.

Knows nothing about callers, or about what is measured.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

import requests

from scripts.faults import network
from scripts.faults.agents import leader
from scripts.faults.cluster import NODE_RULES, Herd, Node

Act = Callable[[Herd, Node], None]
DAY = 86400
TRUE_TIME = time.time
SHORTEST_TOKEN = 60.0
"""Seconds: Consul refuses tokens that expire sooner."""


def nothing(herd: Herd, node: Node) -> None:
    """Leaves all as it is."""


@dataclass(frozen=True)
class Fault:
    """`strike` happens in the middle of the work, `mend` `hold` seconds later. `prepare` comes before the work.

    `text`: for people; {hold} stands for that time.

    `layout`: of the herd. `bad`: whether the node that is struck should get no request meanwhile. `third`: it must be
    the third one. `obstacle`: why it cannot be tried here; "" if it can.
    """

    name: str
    text: str
    layout: str = "alone"
    strike: Act = nothing
    hold: float = 0.0
    mend: Act = nothing
    prepare: Act = nothing
    bad: bool = False
    third: bool = False
    obstacle: Callable[[], str] = lambda: ""


def _kill(herd: Herd, node: Node) -> None:
    herd.signal(node, signal.SIGKILL)


def _terminate(herd: Herd, node: Node) -> None:
    herd.signal(node, signal.SIGTERM)


def _stop(herd: Herd, node: Node) -> None:
    herd.signal(node, signal.SIGSTOP)


def _continue(herd: Herd, node: Node) -> None:
    herd.signal(node, signal.SIGCONT)


def _again(herd: Herd, node: Node) -> None:
    herd.again(node)


def _forget(herd: Herd, node: Node) -> None:
    herd.local.forget()


def _cut(herd: Herd, node: Node) -> None:
    assert herd.island is not None
    herd.island.cut()


def _join(herd: Herd, node: Node) -> None:
    assert herd.island is not None
    herd.island.join()


def _behead(herd: Herd, node: Node) -> None:
    led = leader(herd.local, herd.servers)
    led.kill()


def _crown(herd: Herd, node: Node) -> None:
    for server in herd.servers:
        if server.name not in herd.processes.running:
            server.start()


def _give_short_token(herd: Herd, node: Node) -> None:
    herd.token_file.write_text(herd.local.new_token(NODE_RULES, ExpirationTTL=f"{SHORTEST_TOKEN:.0f}s"))


def _await_expiry(herd: Herd, node: Node) -> None:
    token = herd.token_file.read_text()
    deadline = time.monotonic() + 2 * SHORTEST_TOKEN
    while time.monotonic() < deadline:
        try:
            herd.local.call("GET", "/v1/acl/token/self", token=token)
        except requests.HTTPError:
            return
        time.sleep(0.1)
    raise RuntimeError("the token does not expire")


def _give_token(herd: Herd, node: Node) -> None:
    herd.token_file.write_text(herd.local.new_token(NODE_RULES))


def _set_clock(days: int) -> Act:
    """Sets the wall clocks of nodes and callers."""

    def act(herd: Herd, node: Node) -> None:
        off = days * DAY
        herd.clock_file.write_text(str(off))
        # Ours, too, that is the callers'. It stays so: nothing else here looks at it.
        time.time = lambda: TRUE_TIME() + off

    return act


FAULTS = (
    Fault("none", "undisturbed"),
    Fault("kill", "SIGKILL in mid-decode; started again {hold} later", strike=_kill, hold=30.0, mend=_again, bad=True),
    Fault("term", "SIGTERM; started again {hold} later", strike=_terminate, hold=30.0, mend=_again, bad=True),
    Fault("stop", "SIGSTOP for {hold}", strike=_stop, hold=40.0, mend=_continue, bad=True),
    Fault("forget", "Consul agent restarted, its data empty", strike=_forget, hold=20.0),
    Fault("cut", "cut off the network for {hold}", "island", _cut, 40.0, _join, bad=True, third=True,
          obstacle=network.obstacle),
    Fault("leader", "SIGKILL of the Consul leader; started again {hold} later", "quorum", _behead, 30.0, _crown),
    Fault("token", "the nodes' ACL token expires; a new one {hold} later", "acl", _await_expiry, 40.0, _give_token,
          prepare=_give_short_token),
    Fault("clock", "all clocks jump a day ahead, {hold} later two back", "clock", _set_clock(1), 20.0, _set_clock(-1)),
)  # fmt: skip
