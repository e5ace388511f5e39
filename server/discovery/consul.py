"""A client of the local Consul agent, on top of python-consul2.

It works around these gaps of python-consul2 0.1.5: no default timeout; CONSUL_HTTP_ADDR overrides arguments, and fails
on https URLs, IPv6 and missing ports; HTTP_PROXY and .netrc apply even to a local agent; a 404 becomes False or a
tuple; a registration takes one check only. Every failure is raised as ConsulError, whose text never holds the token.
"""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, urlsplit

import requests
from consul import base, std
from pydantic import SecretStr

from server.discovery.acl_token import AclToken
from server.discovery.errors import ConsulError
from server.discovery.services import (
    AgentNode,
    AgentService,
    CatalogService,
    ServiceInstance,
    catalog_service,
    service_instance,
)
from server.settings import Settings

TIMEOUT = (1.0, 2.0)
"""Seconds to connect, and between two bytes of a response. Short, because the agent is local."""


def parse_address(address: str, *, ssl: bool = False) -> tuple[str, str, int]:
    """Parses `host`, `host:port`, `[::1]:8500` or an http(s) URL into (scheme, host, port). ValueError: invalid."""
    expected = "consul_addr: expected host, host:port or an http(s) URL"
    if "@" in address:  # not repeated: it has a password
        raise ValueError(f"{expected}, without a user or password: they belong in consul_auth")
    try:
        parts = urlsplit(address if "://" in address else f"http://{address}")
        host, port = parts.hostname, parts.port
    except ValueError as error:  # a port that is no number, an unclosed bracket
        raise ValueError(f"{expected}, got {address!r}: {error}") from None
    if parts.scheme not in ("http", "https") or parts.path.strip("/") or parts.query or not host:
        raise ValueError(f"{expected}, got {address!r}")
    scheme = "https" if ssl else parts.scheme
    return scheme, host, port or (8501 if scheme == "https" else 8500)


def _plain(value: SecretStr | None) -> str:
    return value.get_secret_value() if value else ""


class _Http(std.HTTPClient):  # type: ignore[misc]  # python-consul2 ships no types
    """python-consul2's HTTP layer for one agent, independent of the environment."""

    def __init__(self, settings: Settings, blocking_seconds: float) -> None:
        scheme, host, port = parse_address(settings.consul_addr, ssl=settings.consul_ssl)
        timeout = (TIMEOUT[0], TIMEOUT[1] + blocking_seconds)
        verify: bool | str = settings.consul_ssl_verify
        if verify and settings.consul_ca:
            verify = str(settings.consul_ca)
        cert = str(settings.consul_cert) if settings.consul_cert else None
        pair = (cert, str(settings.consul_key)) if cert and settings.consul_key else cert
        super().__init__(f"[{host}]" if ":" in host else host, port, scheme, verify, pair, timeout)
        self.session.trust_env = False
        if settings.consul_auth:
            user, _, password = _plain(settings.consul_auth).partition(":")
            self.session.auth = (user, password)


class AgentClient:
    """Calls to the local agent. Each is bounded in time and raises only ConsulError. For one thread at a time.

    `blocking_seconds`: how much longer than TIMEOUT a blocking query may take.
    """

    def __init__(self, settings: Settings, *, blocking_seconds: float = 0.0) -> None:
        self.scheme, self.host, self.port = parse_address(settings.consul_addr, ssl=settings.consul_ssl)
        self.acl_token = AclToken(settings)
        # The attributes that python-consul2's endpoint groups use. Its own constructor is not called: it lets
        # CONSUL_HTTP_ADDR override arguments, and splits that at every colon.
        self.http = _Http(settings, blocking_seconds)
        self.dc, self.consistency = None, "default"
        self.agent = base.Consul.Agent(self)

    def close(self) -> None:
        """Closes the connection to the agent; a later call opens a new one."""
        self.http.session.close()

    @property
    def token(self) -> str:
        """The token in use; python-consul2 reads it too."""
        return self.acl_token.value

    def get_service(self, service_id: str) -> AgentService | None:
        """The service with that id at the agent; None if there is none."""

        def read(response: base.Response) -> AgentService | None:
            # 200, 429 and 503 mean passing, warning and critical; each response has the service. But an agent that is
            # overloaded or has no leader responds with 429 or 503 too, in plain text.
            if response.code not in (200, 404) and not response.body.startswith("{"):
                base.CB._status(response)
            body = json.loads(response.body)
            service = body.get("Service")
            if not service:
                return None
            checks = frozenset(check["CheckID"] for check in body.get("Checks") or [])
            return AgentService(service["Address"], service["Port"], checks)

        service: AgentService | None = self._get(f"/v1/agent/health/service/id/{quote(service_id)}", read)
        return service

    def register(self, payload: dict[str, Any]) -> None:
        """Registers a service with all of its checks, and replaces one with the same id."""
        with self._map_errors():
            accepted = self.http.put(
                base.CB.bool(), "/v1/agent/service/register", headers=self._headers(), data=json.dumps(payload)
            )
        if not accepted:
            raise ConsulError("failed", "the agent did not accept the registration")

    def deregister(self, service_id: str) -> None:
        """Removes a service and its checks from the agent, if it has them."""
        with self._map_errors():
            self.agent.service.deregister(service_id)

    def update_check(self, check_id: str, *, passing: bool, note: str) -> bool:
        """Updates a TTL check. False if the agent has no such check (500 from Consul 1.8, 404 from newer ones)."""
        call = self.agent.check.ttl_pass if passing else self.agent.check.ttl_fail
        try:
            with self._map_errors():
                return bool(call(check_id, notes=note))
        except ConsulError as error:
            if error.kind == "failed":
                return False
            raise

    def catalog_services(self, service: str, service_id: str) -> list[CatalogService]:
        """All services in the catalogue with this id (a stale read: any server may respond)."""
        params = [("stale", ""), ("filter", f"Service.ID == {json.dumps(service_id)}")]
        items = self._get(f"/v1/health/service/{service}", base.CB.json(), params)
        if not isinstance(items, list):
            raise ConsulError("failed", "the catalogue did not return a list")
        return [catalog_service(item) for item in items if item["Service"]["ID"] == service_id]

    def passing_checks(self, node: str, service_id: str) -> frozenset[str] | None:
        """Ids of the service's checks that pass, as the catalogue shows them (a stale read); None: it shows none."""
        items = self._get(f"/v1/health/node/{quote(node)}", base.CB.json(), [("stale", "")])
        with self._map_errors():
            own = {item["CheckID"]: item["Status"] for item in items or [] if item["ServiceID"] == service_id}
        return frozenset(check for check, status in own.items() if status == "passing") if own else None

    def service_instances(self, service: str) -> list[ServiceInstance]:
        """All nodes of a service with their checks, passing or not, sorted by address (a stale read)."""
        items = self._get(f"/v1/health/service/{service}", base.CB.json(), [("stale", "")])
        if not isinstance(items, list):
            raise ConsulError("failed", "the catalogue did not return a list")
        with self._map_errors():
            return sorted(map(service_instance, items), key=lambda instance: (instance.address, instance.port))

    def passing_services(self, service: str) -> dict[str, str]:
        """URL by id of the services whose checks pass; from the agent's cache, which follows changes."""
        items = self._get(f"/v1/health/service/{service}", base.CB.json(), [("passing", "1"), ("cached", "")])
        with self._map_errors():
            return {instance.id: instance.url for instance in map(service_instance, items)}

    def node(self) -> AgentNode | None:
        """The agent's own node; None if the token may not read it (agent:read)."""
        try:
            agent = self._get("/v1/agent/self", base.CB.json())
        except ConsulError as error:
            if error.kind == "denied":
                return None
            raise
        with self._map_errors():
            return AgentNode(agent["Config"]["NodeName"], agent["Member"]["Addr"])

    def list_kv(self, prefix: str, index: int, wait: float) -> tuple[int, dict[str, bytes]]:
        """Consul's index (0: the response has none) and all values under `prefix/` by key, without those that the
        token may not read.

        Blocks for up to `wait` seconds and a sixteenth more until there is a newer index than `index`; 0 does not
        block.
        """

        def read(response: base.Response) -> tuple[int, dict[str, bytes]]:
            values = _values(response)  # first: an error has no index
            index = response.headers.get("X-Consul-Index", "")
            return max(1, int(index)) if index.isdecimal() else 0, values

        params = [("recurse", ""), ("index", str(index)), ("wait", f"{wait:g}s")]
        index_and_values: tuple[int, dict[str, bytes]] = self._get(f"/v1/kv/{prefix}/", read, params)
        return index_and_values

    def get_kv(self, key: str) -> bytes | None:
        """The value of a key, None if there is none. ConsulError `denied` if the token may not read it."""
        values: dict[str, bytes] = self._get(f"/v1/kv/{key}", _values)
        return values.get(key)

    def local_address(self) -> str:
        """The address that the kernel chooses for connections from this host to the agent."""
        try:
            with socket.create_connection((self.host, self.port), timeout=TIMEOUT[0]) as connection:
                return str(connection.getsockname()[0])
        except (OSError, UnicodeError) as error:
            raise self._unreachable(error) from None

    def _headers(self) -> dict[str, str]:
        return {"X-Consul-Token": self.token} if self.token else {}

    def _get(self, path: str, read: Callable[[Any], Any], params: list[tuple[str, str]] | None = None) -> Any:
        with self._map_errors():
            return self.http.get(read, path, params=params, headers=self._headers())

    def _unreachable(self, error: Exception) -> ConsulError:
        # The exception's own text is of pools, retries and object addresses, which does not help an operator.
        reason = type(error).__name__
        if isinstance(error, requests.exceptions.SSLError):
            reason = f"TLS: {getattr(error.args[0], 'reason', None) or error}"
        return ConsulError("unreachable", f"no response from {self.scheme}://{self.host}:{self.port} ({reason})")

    @contextmanager
    def _map_errors(self) -> Iterator[None]:
        try:
            yield
        except requests.RequestException as error:
            raise self._unreachable(error) from None
        except OSError as error:  # not of the network: requests cannot open a certificate or key
            raise ConsulError("failed", f"consul_ca, consul_cert, consul_key: {error}") from None
        except (base.ACLPermissionDenied, base.ACLDisabled) as error:
            raise ConsulError("denied", f"Consul denied the request: {self._redact(error)}") from None
        except base.ConsulException as error:
            raise ConsulError("failed", f"Consul failed: {self._redact(error)}") from None
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ConsulError("failed", f"the response is not one of Consul's ({type(error).__name__})") from None

    def _redact(self, error: Exception) -> str:
        text = " ".join(str(error).split())[:300]
        return text.replace(self.token, "***") if self.token else text


def _values(response: base.Response) -> dict[str, bytes]:
    base.CB._status(response)
    items = [] if response.code == 404 else json.loads(response.body)
    return {item["Key"]: base64.b64decode(item["Value"] or "") for item in items}
