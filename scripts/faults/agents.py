"""Consul agents that a test can crash: a single one, or three servers and a client, with or without ACLs."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from signal import Signals
from typing import Any
from urllib.parse import urlsplit

import requests
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from scripts.processes import Processes, free_ports

LOOPBACK = "127.0.0.1"
START_TIMEOUT = 60.0
"""Seconds within which an agent must answer and have a leader."""


class Agent:
    """One agent with its own data directory. `dev`: Consul's development mode, a server that elects itself at once.

    `command_prefix`: put before its command, to run it in a network namespace. `config` is merged into its
    configuration.
    """

    def __init__(
        self,
        agents: Agents,
        name: str,
        *,
        dev: bool = False,
        bind: str = LOOPBACK,
        command_prefix: Sequence[str] = (),
        **config: Any,
    ) -> None:
        self.name = name
        http, self.server_port, self.serf_port, self.dns_port = free_ports(4)
        self.address = f"{LOOPBACK}:{http}"
        self.gossip_address = f"{bind}:{self.serf_port}"
        self.token = ""
        self._processes = agents.processes
        self._data = agents.processes.logs / name
        serf = {"serf_lan": self.serf_port, "serf_wan": -1}
        ports = {"http": http, "server": self.server_port, "grpc": -1, "dns": self.dns_port, **serf}
        own = {"bind_addr": bind, "client_addr": LOOPBACK, "disable_update_check": True, "ports": ports, **config}
        file = agents.processes.logs / f"{name}.json"
        file.write_text(json.dumps(own if dev else {**own, "data_dir": str(self._data)}))
        mode = ["-dev"] if dev else []
        flags = ["-node", name, "-config-file", str(file), "-log-level", "warn"]
        self._command = [*command_prefix, agents.binary, "agent", *mode, *flags]
        self._is_reachable = not command_prefix

    def start(self) -> None:
        """Starts the process; `wait` blocks until it is usable."""
        self._processes.start(self.name, self._command)

    def wait(self) -> None:
        """Blocks until there is a leader. An agent in a namespace can't be reached from here and is not waited for."""
        if self._is_reachable:
            self._processes.wait(self.name, f"http://{self.address}/v1/catalog/nodes", START_TIMEOUT)

    def kill(self) -> None:
        """SIGKILL."""
        self._processes.kill(self.name)

    def signal(self, number: Signals) -> None:
        """Sends a signal to its process group."""
        os.killpg(self._processes.running[self.name].pid, number)

    def restart_empty(self) -> None:
        """Kills it, if it runs, and starts it with no data."""
        if self.name in self._processes.running:
            self.kill()
        shutil.rmtree(self._data, ignore_errors=True)
        self.start()

    def call(self, method: str, path: str, body: Any = None, *, token: str | None = None) -> Any:
        """The parsed response, using the management token if there are ACLs. Raises requests' errors."""
        headers = {"X-Consul-Token": self.token if token is None else token}
        response = requests.request(method, f"http://{self.address}{path}", json=body, headers=headers, timeout=10)
        response.raise_for_status()
        return response.json() if response.content else None

    def bootstrap_acl(self) -> None:
        """Takes the management token and gives the agent a token of its own."""
        retrying = Retrying(
            retry=retry_if_exception_type(requests.RequestException),
            stop=stop_after_delay(START_TIMEOUT), wait=wait_fixed(0.2), reraise=True,
        )  # fmt: skip
        self.token = retrying(self.call, "PUT", "/v1/acl/bootstrap")["SecretID"]
        self.call("PUT", "/v1/agent/token/agent", {"Token": self.new_token('node_prefix "" { policy = "write" }')})

    def new_token(self, rules: str, **more: str) -> str:
        """A new ACL token with these rules; `more` are further fields of the token."""
        policy = self.call("PUT", "/v1/acl/policy", {"Name": f"p{time.monotonic_ns()}", "Rules": rules})
        return str(self.call("PUT", "/v1/acl/token", {"Policies": [{"ID": policy["ID"]}], **more})["SecretID"])


@dataclass(frozen=True)
class Agents:
    """Starts agents. `dev`: single agents run in development mode, whose gossip and elections are faster."""

    processes: Processes
    binary: str
    dev: bool

    def single(self, **config: Any) -> Agent:
        """One agent, server and leader; with `acl` in its configuration it has the management token."""
        mode: dict[str, Any] = {"dev": True} if self.dev else {"server": True, "bootstrap": True}
        agent = Agent(self, "consul", **mode, **config)
        agent.start()
        if "acl" in config:
            agent.bootstrap_acl()
        else:
            agent.wait()
        return agent

    def quorum(self) -> tuple[Agent, list[Agent]]:
        """A client agent, and the three servers behind it."""
        mode: dict[str, Any] = {"server": True, "bootstrap_expect": 3}
        first = Agent(self, "server-1", **mode)
        others = [Agent(self, f"server-{n}", retry_join=[first.gossip_address], **mode) for n in (2, 3)]
        servers = [first, *others]
        client = Agent(self, "consul", retry_join=[server.gossip_address for server in servers])
        for agent in (*servers, client):
            agent.start()
        client.wait()
        return client, servers


def find_leader(client: Agent, servers: Sequence[Agent]) -> Agent:
    """The server that `client` names as the leader."""
    port = urlsplit(f"//{client.call('GET', '/v1/status/leader')}").port
    return next(server for server in servers if server.server_port == port)
