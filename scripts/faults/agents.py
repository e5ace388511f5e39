"""Consul agents of a herd that is disturbed: one alone, three servers and a client, with or without ACLs.

Knows nothing about nodes.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from scripts.processes import Processes, free_ports

LOOPBACK = "127.0.0.1"
PATIENCE = 60.0
"""Seconds until an agent must answer and know a leader."""


class Agent:
    """One agent, with data of its own. With `dev`, in Consul's development mode: server and leader in one, and fast.

    `inside`: what stands before its command, where it runs in a namespace. `config` is merged into its configuration.
    """

    def __init__(
        self,
        make: Agents,
        name: str,
        *,
        dev: bool = False,
        bind: str = LOOPBACK,
        inside: Sequence[str] = (),
        **config: Any,
    ) -> None:
        self.name = name
        http, self.server, self.serf = free_ports(3)
        self.address = f"{LOOPBACK}:{http}"
        self.gossip = f"{bind}:{self.serf}"
        self.token = ""
        self._processes = make.processes
        self._data = make.processes.logs / name
        ports = {"http": http, "server": self.server, "serf_lan": self.serf, "grpc": -1, "dns": -1, "serf_wan": -1}
        own = {"bind_addr": bind, "client_addr": LOOPBACK, "disable_update_check": True, "ports": ports, **config}
        file = make.processes.logs / f"{name}.json"
        file.write_text(json.dumps(own if dev else {**own, "data_dir": str(self._data)}))
        mode = ["-dev"] if dev else []
        flags = ["-node", name, "-config-file", str(file), "-log-level", "warn"]
        self._command = [*inside, make.binary, "agent", *mode, *flags]
        self._inside = bool(inside)

    def start(self) -> None:
        """Starts it; `wait` says when it is of use."""
        self._processes.start(self.name, self._command)

    def wait(self) -> None:
        """Until it knows a leader. One inside a namespace is not reached from here: then whoever needs it waits."""
        if not self._inside:
            self._processes.wait(self.name, f"http://{self.address}/v1/catalog/nodes", PATIENCE)

    def kill(self) -> None:
        self._processes.kill(self.name)

    def forget(self) -> None:
        """Ends at once, as in a crash, and starts with no data."""
        self.kill()
        shutil.rmtree(self._data, ignore_errors=True)
        self.start()

    def call(self, method: str, path: str, body: Any = None, *, token: str | None = None) -> Any:
        """The parsed answer, with the management token where there are ACLs; requests' errors otherwise."""
        headers = {"X-Consul-Token": self.token if token is None else token}
        answer = requests.request(method, f"http://{self.address}{path}", json=body, headers=headers, timeout=10)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def bootstrap(self) -> None:
        """Where ACLs are on: takes the management token, and gives the agent one for itself."""
        patient = Retrying(
            retry=retry_if_exception_type(requests.RequestException),
            stop=stop_after_delay(PATIENCE), wait=wait_fixed(0.2), reraise=True,
        )  # fmt: skip
        self.token = patient(self.call, "PUT", "/v1/acl/bootstrap")["SecretID"]
        self.call("PUT", "/v1/agent/token/agent", {"Token": self.new_token('node_prefix "" { policy = "write" }')})

    def new_token(self, rules: str, **more: str) -> str:
        """A new ACL token with these rules."""
        policy = self.call("PUT", "/v1/acl/policy", {"Name": f"p{time.monotonic_ns()}", "Rules": rules})
        return str(self.call("PUT", "/v1/acl/token", {"Policies": [{"ID": policy["ID"]}], **more})["SecretID"])


@dataclass(frozen=True)
class Agents:
    """Makes agents that run. `dev`: single ones in development mode, whose gossip and elections are faster."""

    processes: Processes
    binary: str
    dev: bool

    def alone(self, **config: Any) -> Agent:
        """A single one, server and leader; with the setting `acl` it asks for tokens, and has the management one."""
        single: dict[str, Any] = {"dev": True} if self.dev else {"server": True, "bootstrap": True}
        agent = Agent(self, "consul", **single, **config)
        agent.start()
        if "acl" in config:
            agent.bootstrap()
        else:
            agent.wait()
        return agent

    def quorum(self) -> tuple[Agent, list[Agent]]:
        """A client agent, and the three servers behind it."""
        together: dict[str, Any] = {"server": True, "bootstrap_expect": 3}
        first = Agent(self, "server-1", **together)
        servers = [first, *(Agent(self, f"server-{n}", retry_join=[first.gossip], **together) for n in (2, 3))]
        client = Agent(self, "consul", retry_join=[server.gossip for server in servers])
        for agent in (*servers, client):
            agent.start()
        client.wait()
        return client, servers


def leader(client: Agent, servers: Sequence[Agent]) -> Agent:
    """The server that leads."""
    port = urlsplit(f"//{client.call('GET', '/v1/status/leader')}").port
    return next(server for server in servers if server.server == port)
