"""A real Consul agent on free loopback ports, for tests."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import ProxyHandler, Request, build_opener

from scripts.processes import free_ports

ROOT = Path(__file__).resolve().parents[2]
_open = build_opener(ProxyHandler({})).open  # ignores the HTTP_PROXY that a test may set


def consul_binary() -> str:
    """The agent on PATH, or the one that scripts/get_consul.sh fetches."""
    path = shutil.which("consul") or ROOT / ".tools" / "consul"
    if not Path(path).exists():
        subprocess.run([ROOT / "scripts" / "get_consul.sh"], check=True)
    return str(path)


def eventually(condition: Callable[[], Any], *, within: float = 20.0, what: str = "") -> Any:
    """Waits until `condition()` is true and returns its value. Raises AssertionError after `within` seconds."""
    deadline = time.monotonic() + within
    while not (value := condition()):
        assert time.monotonic() < deadline, f"timed out after {within} s waiting for {what or condition}"
        time.sleep(0.03)
    return value


class Agent:
    """One agent, server and leader in one, with its state in memory: a restart begins with empty data."""

    def __init__(self, directory: Path, *, acl: bool = False, **config: Any) -> None:
        self.http_port, server, serf = free_ports(3)
        self.address = f"127.0.0.1:{self.http_port}"
        self.token = ""
        self._log = directory / "consul.log"
        self._config = directory / "consul.json"
        self._process: subprocess.Popen[bytes] | None = None
        off = {"grpc": -1, "dns": -1, "serf_wan": -1}
        ports = {"http": self.http_port, "server": server, "serf_lan": serf, **off, **config.pop("ports", {})}
        access = {"acl": {"enabled": True, "default_policy": "deny"}} if acl else {}
        self._acl = acl
        settings = {"ports": ports, "bind_addr": "127.0.0.1", "client_addr": "127.0.0.1", "disable_update_check": True}
        self._config.write_text(json.dumps({**settings, **access, **config}))

    def start(self) -> None:
        """Starts it, and waits for a leader and for the node to be in the catalogue."""
        command = [consul_binary(), "agent", "-dev", "-config-file", str(self._config), "-log-level", "warn"]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("CONSUL_")}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        eventually(self._leads, within=60, what=f"a leader; see {self._log}")
        if self._acl:
            boot = eventually(lambda: self._answer("PUT", "/v1/acl/bootstrap"), what="ACL bootstrap")
            self.token = boot["SecretID"]
            policy = {"Name": "agent", "Rules": 'node_prefix "" { policy = "write" }'}
            self.call("PUT", "/v1/agent/token/agent", {"Token": self.new_token(policy)})
        eventually(lambda: self.call("GET", "/v1/catalog/nodes"), within=60, what="the node in its catalogue")

    def stop(self) -> None:
        """Kills it, as in a crash; all data is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Kills it and starts it with no data."""
        self.stop()
        self.start()

    def running(self) -> bool:
        return self._process is not None

    def call(self, method: str, path: str, body: Any = None, *, token: str | None = None, **params: str) -> Any:
        """The parsed response (None if empty), using the management token or `token`. Raises HTTPError."""
        text = self.transfer(method, path, None if body is None else json.dumps(body).encode(), token=token, **params)
        return json.loads(text) if text else None

    def transfer(
        self, method: str, path: str, data: bytes | None = None, *, token: str | None = None, **params: str
    ) -> bytes:
        """Like `call`, for raw bytes."""
        url = f"http://{self.address}{path}?{urlencode(params)}"
        headers = {"X-Consul-Token": self.token if token is None else token}
        with _open(Request(url, data, headers, method=method), timeout=10) as answer:
            return bytes(answer.read())

    def listed(self, service: str = "glm-tts", **params: str) -> dict[str, dict[str, Any]]:
        """Catalogue entries with their checks by service id; `passing="1"` returns only the healthy ones."""
        entries = self.call("GET", f"/v1/health/service/{service}", **params)
        return {entry["Service"]["ID"]: entry for entry in entries}

    def passing(self, service: str = "glm-tts") -> set[str]:
        """Ids of the healthy services."""
        return set(self.listed(service, passing="1"))

    def deregister(self, service_id: str) -> None:
        """Deregisters a service without telling its node."""
        self.call("PUT", f"/v1/agent/service/deregister/{service_id}")

    def new_token(self, policy: dict[str, str]) -> str:
        """A new ACL token with one new policy."""
        self.call("PUT", "/v1/acl/policy", policy)
        token = self.call("PUT", "/v1/acl/token", {"Policies": [{"Name": policy["Name"]}]})
        return str(token["SecretID"])

    def _leads(self) -> Any:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()
        return self._answer("GET", "/v1/status/leader")

    def _answer(self, method: str, path: str) -> Any:
        try:
            return self.call(method, path)
        except HTTPError as error:
            error.close()
        except OSError:
            pass
        return None


@contextmanager
def running_agent(directory: Path, *, acl: bool = False, **config: Any) -> Iterator[Agent]:
    """A running agent; `config` is merged into its configuration."""
    agent = Agent(directory, acl=acl, **config)
    try:
        agent.start()
        yield agent
    finally:
        agent.stop()
