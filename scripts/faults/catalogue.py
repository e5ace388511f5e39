"""The faults: what each does to a cluster, what reverts it, and what it needs."""

from __future__ import annotations

import http.client
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import requests

from scripts.faults import isolated_host
from scripts.faults.agents import find_leader
from scripts.faults.cluster import NODE_RULES, Node, TestCluster
from scripts.gateway import haproxy
from scripts.processes import free_ports

Action = Callable[[TestCluster, Node], None]
HICCUPS, HICCUP_SECONDS = 5, 0.7
DAY_SECONDS = 86400
REAL_TIME = time.time
MIN_TOKEN_TTL_SECONDS = 60.0
"""Consul refuses tokens with a shorter lifetime."""
SERVE_TIMEOUT = 120.0
"""Seconds within which every node must get requests."""


def no_action(cluster: TestCluster, node: Node) -> None:
    """Leaves everything as it is."""


@dataclass(frozen=True)
class Fault:
    """`inject` runs while clients are at work, `recover` runs `duration` seconds later, `prepare` before the clients.

    `text` describes it; {duration} is replaced by that time. `layout`: see `running_cluster`. `nodes_down`: those that
    should get no requests while the fault lasts, by the target. `graceful`: they do for a while. `targets_third`:
    the target must be the third node. `unavailable_reason` says why it can't be injected on this machine with a
    checkpoint; "" if it can.
    """

    name: str
    text: str
    layout: str = "single"
    inject: Action = no_action
    duration: float = 0.0
    recover: Action = no_action
    prepare: Action = no_action
    nodes_down: Callable[[TestCluster, Node], list[Node]] = lambda cluster, node: []
    graceful: bool = False
    targets_third: bool = False
    unavailable_reason: Callable[[str], str] = lambda checkpoint: ""


def _target(cluster: TestCluster, node: Node) -> list[Node]:
    return [node]


def _target_and_next(cluster: TestCluster, node: Node) -> list[Node]:
    return [node, cluster.nodes[(cluster.nodes.index(node) + 1) % len(cluster.nodes)]]


def _kill(cluster: TestCluster, node: Node) -> None:
    cluster.signal(node, signal.SIGKILL)


def _kill_two(cluster: TestCluster, node: Node) -> None:
    for each in _target_and_next(cluster, node):
        _kill(cluster, each)


def _restart_two(cluster: TestCluster, node: Node) -> None:
    for each in _target_and_next(cluster, node):
        cluster.restart(each)


def _kill_with_agent(cluster: TestCluster, node: Node) -> None:
    cluster.agent.kill()
    _kill(cluster, node)


def _restart_with_agent(cluster: TestCluster, node: Node) -> None:
    cluster.agent.start()
    cluster.restart(node)


def _hiccup(cluster: TestCluster, node: Node) -> None:
    """As often as a virtual machine that is being moved, or a disk that stalls."""
    for _ in range(HICCUPS):
        _stop(cluster, node)
        time.sleep(HICCUP_SECONDS)
        _continue(cluster, node)
        time.sleep(HICCUP_SECONDS)


def _terminate(cluster: TestCluster, node: Node) -> None:
    cluster.signal(node, signal.SIGTERM)


def _stop(cluster: TestCluster, node: Node) -> None:
    cluster.signal(node, signal.SIGSTOP)


def _stop_two(cluster: TestCluster, node: Node) -> None:
    for each in _target_and_next(cluster, node):
        _stop(cluster, each)


def _continue_two(cluster: TestCluster, node: Node) -> None:
    for each in _target_and_next(cluster, node):
        _continue(cluster, each)


def _continue(cluster: TestCluster, node: Node) -> None:
    cluster.signal(node, signal.SIGCONT)


def _hang(cluster: TestCluster, node: Node) -> None:
    """A segment that the fake engine never ends; it does one at a time. Its process goes on to answer."""
    connection = http.client.HTTPConnection(node.host, node.port)
    connection.request("POST", "/tts/stream", '{"text": "HANG", "timeout": 600}', {"Content-Type": "application/json"})
    cluster.hanging = connection


def _end_hang(cluster: TestCluster, node: Node) -> None:
    assert cluster.hanging is not None
    cluster.hanging.close()


def _restart(cluster: TestCluster, node: Node) -> None:
    cluster.restart(node)


def _kill_and_replace(cluster: TestCluster, node: Node) -> None:
    cluster.signal(node, signal.SIGKILL)
    cluster.replace(node)


def _await_requests(cluster: TestCluster) -> None:
    """Until the gateway has sent a request to each node since its start."""
    deadline = time.monotonic() + SERVE_TIMEOUT
    for node in cluster.nodes:
        cluster.wait(node)
        while "/v1/audio/speech" not in requests.get(f"{node.url}/metrics", timeout=10).text:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{node.name} gets no requests")
            time.sleep(0.1)


def _kill_behind_gateway(cluster: TestCluster, node: Node) -> None:
    _await_requests(cluster)
    _kill(cluster, node)


def _add_and_terminate_next(cluster: TestCluster, node: Node) -> None:
    """The killed node comes back, and a new one joins; then another gets SIGTERM, and serves on until it ends."""
    leaving = _target_and_next(cluster, node)[1]
    cluster.restart(node)
    cluster.take_over(leaving, "node-new", *free_ports(1))
    _await_requests(cluster)
    _terminate(cluster, leaving)
    cluster.processes.running.pop(leaving.process).wait()


def _no_gateway_reason(_checkpoint: str) -> str:
    if haproxy() is None:
        return "needs haproxy"
    return "" if find_spec("openai") else "needs the package openai"


def _kill_agent(cluster: TestCluster, node: Node) -> None:
    cluster.agent.kill()


def _stop_agent(cluster: TestCluster, node: Node) -> None:
    cluster.agent.signal(signal.SIGSTOP)


def _continue_agent(cluster: TestCluster, node: Node) -> None:
    cluster.agent.signal(signal.SIGCONT)


def _empty_token(cluster: TestCluster, node: Node) -> None:
    cluster.token_file.write_text("")


def _wipe_data(cluster: TestCluster, node: Node) -> None:
    cluster.agent.restart_empty()


def _disconnect(cluster: TestCluster, node: Node) -> None:
    assert cluster.isolated_host is not None
    cluster.isolated_host.disconnect()


def _reconnect(cluster: TestCluster, node: Node) -> None:
    assert cluster.isolated_host is not None
    cluster.isolated_host.reconnect()


def _kill_leader(cluster: TestCluster, node: Node) -> None:
    find_leader(cluster.agent, cluster.servers).kill()


def _restart_leader(cluster: TestCluster, node: Node) -> None:
    for server in cluster.servers:
        if server.name not in cluster.processes.running:
            server.start()


def _give_short_token(cluster: TestCluster, node: Node) -> None:
    ttl = f"{MIN_TOKEN_TTL_SECONDS:.0f}s"
    cluster.token_file.write_text(cluster.agent.new_token(NODE_RULES, ExpirationTTL=ttl))


def _await_expiry(cluster: TestCluster, node: Node) -> None:
    token = cluster.token_file.read_text()
    deadline = time.monotonic() + 2 * MIN_TOKEN_TTL_SECONDS
    while time.monotonic() < deadline:
        try:
            cluster.agent.call("GET", "/v1/acl/token/self", token=token)
        except requests.HTTPError:
            return
        time.sleep(0.1)
    raise RuntimeError("the ACL token does not expire")


def _give_token(cluster: TestCluster, node: Node) -> None:
    cluster.token_file.write_text(cluster.agent.new_token(NODE_RULES))


def _set_clock(days: int) -> Action:
    """Shifts the wall clocks of the nodes and of the clients by `days` from the real time."""

    def action(cluster: TestCluster, node: Node) -> None:
        seconds = days * DAY_SECONDS
        cluster.clock_file.write_text(str(seconds))
        # The clients run in this process. Its clock stays shifted: nothing else here reads it.
        time.time = lambda: REAL_TIME() + seconds

    return action


FAULTS = (
    Fault("none", "no fault"),
    Fault("kill", "SIGKILL during a segment; restarted {duration} later", inject=_kill, duration=30.0,
          recover=_restart, nodes_down=_target),
    Fault("rename", "SIGKILL; replaced at once under another name", inject=_kill_and_replace),
    Fault("term", "SIGTERM; restarted {duration} later", inject=_terminate, duration=30.0, recover=_restart,
          nodes_down=_target, graceful=True),
    Fault("stop", "SIGSTOP for {duration}", inject=_stop, duration=40.0, recover=_continue, nodes_down=_target),
    Fault("hang", "the engine hangs for {duration}, while its process answers", inject=_hang, duration=40.0,
          recover=_end_hang, nodes_down=_target, graceful=True,
          unavailable_reason=lambda checkpoint: "" if checkpoint.startswith("fake:") else "needs the fake engine"),
    Fault("hiccup", f"SIGSTOP for {HICCUP_SECONDS:g} s, {HICCUPS} times", inject=_hiccup),
    Fault("two", "SIGKILL of two of the three nodes; restarted {duration} later", inject=_kill_two, duration=30.0,
          recover=_restart_two, nodes_down=_target_and_next),
    Fault("stop-two", "SIGSTOP of two of the three nodes for {duration}", inject=_stop_two, duration=40.0,
          recover=_continue_two, nodes_down=_target_and_next),
    Fault("stop-agent", "SIGSTOP of the Consul agent for {duration}", inject=_stop_agent, duration=40.0,
          recover=_continue_agent),
    Fault("agent", "SIGKILL of a node and of the Consul agent; restarted {duration} later", inject=_kill_with_agent,
          duration=30.0, recover=_restart_with_agent, nodes_down=_target),
    Fault("wipe", "Consul agent restarted with empty data", inject=_wipe_data, duration=20.0),
    Fault("outage", "Consul agent down for {duration}, back with empty data", inject=_kill_agent, duration=60.0,
          recover=_wipe_data),
    Fault("partition", "network partition for {duration}", "isolated", _disconnect, 40.0, _reconnect,
          nodes_down=_target, targets_third=True,
          unavailable_reason=lambda checkpoint: isolated_host.unavailable_reason()),
    Fault("leader", "SIGKILL of the Consul leader; restarted {duration} later", "quorum", _kill_leader, 30.0,
          _restart_leader),
    Fault("token", "the nodes' ACL token expires; replaced {duration} later", "acl", _await_expiry, 40.0, _give_token,
          prepare=_give_short_token),
    Fault("empty", "the nodes' token file is empty for {duration}", "acl", _empty_token, 40.0, _give_token),
    Fault("gateway", "through the gateway: SIGKILL; {duration} later it is back, a node joins, another gets SIGTERM",
          "gateway", _kill_behind_gateway, 20.0, _add_and_terminate_next, unavailable_reason=_no_gateway_reason),
    Fault("clock", "all clocks jump one day ahead, {duration} later two days back", "clock", _set_clock(1), 20.0,
          _set_clock(-1)),
)  # fmt: skip
