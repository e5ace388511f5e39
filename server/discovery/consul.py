"""The local Consul agent, as the server needs it: python-consul2 with its gaps closed.

The gaps of 0.1.5: no default timeout; CONSUL_HTTP_ADDR overrides arguments and fails on https URLs, IPv6 and missing
ports; HTTP_PROXY and .netrc would be obeyed on the way to an agent next door; a 404 becomes False or a tuple; one
check a registration. Every failure leaves here as ConsulError, whose text never holds the token.
Knows nothing about when to register, or what; nor what values mean.
"""

from __future__ import annotations

import base64
import json
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

import requests
from consul import base, std
from pydantic import SecretStr

from server.settings import Settings

log = logging.getLogger(__name__)

TIMEOUT = (1.0, 2.0)
"""Seconds to connect, and between two bytes of an answer: the agent is next door."""

ErrorKind = Literal["unreachable", "denied", "failed", "unconfirmed"]


class ConsulError(Exception):
    """Consul did not do what was asked. `trouble`: away (no answer), denied (ACL), failed, unconfirmed."""

    def __init__(self, kind: ErrorKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class AgentService:
    """A service as the local agent holds it; `address` is "" where the node's own is meant."""

    address: str
    port: int
    checks: frozenset[str]


@dataclass(frozen=True)
class CatalogService:
    """A service as the whole cluster sees it. `agent_alive` is false when the node that holds it is gone."""

    node: str
    address: str
    port: int
    agent_alive: bool


def parse_address(address: str, *, ssl: bool = False) -> tuple[str, str, int]:
    """`host`, `host:port`, `[::1]:8500` or an http(s) URL to (scheme, host, port). ValueError: what is wrong."""
    wanted = "want host, host:port or an http(s) URL"
    parts = urlsplit(address if "://" in address else f"http://{address}")
    if parts.username or parts.password:
        raise ValueError("the Consul address carries a user or password: those belong in consul_auth")
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"Consul address {address!r}: scheme {parts.scheme!r} is not spoken; {wanted}")
    if parts.path.strip("/") or parts.query or not parts.hostname:
        raise ValueError(f"Consul address {address!r}: {wanted}")
    try:
        port = parts.port
    except ValueError as error:
        raise ValueError(f"Consul address {address!r}: {error}; {wanted}") from None
    scheme = "https" if ssl else parts.scheme
    return scheme, parts.hostname, port or (8501 if scheme == "https" else 8500)


def _secret(value: SecretStr | None) -> str:
    return value.get_secret_value() if value else ""


class _Http(std.HTTPClient):  # type: ignore[misc]  # python-consul2 ships no types
    """python-consul2's HTTP layer, pointed at exactly one agent whatever the environment says."""

    def __init__(self, settings: Settings, patience: float) -> None:
        scheme, host, port = parse_address(settings.consul_addr, ssl=settings.consul_ssl)
        timeout = (TIMEOUT[0], TIMEOUT[1] + patience)
        verify: bool | str = settings.consul_ssl_verify
        if verify and settings.consul_ca:
            verify = str(settings.consul_ca)
        cert = str(settings.consul_cert) if settings.consul_cert else None
        pair = (cert, str(settings.consul_key)) if cert and settings.consul_key else cert
        super().__init__(f"[{host}]" if ":" in host else host, port, scheme, verify, pair, timeout)
        self.session.trust_env = False
        if settings.consul_auth:
            user, _, password = _secret(settings.consul_auth).partition(":")
            self.session.auth = (user, password)


class AgentClient:
    """Calls to the local agent; each bounded in time, each raising ConsulError alone. For one thread at a time.

    `patience`: seconds that a call may take beyond TIMEOUT, for those that wait for a change.
    """

    def __init__(self, settings: Settings, *, patience: float = 0.0) -> None:
        self.scheme, self.host, self.port = parse_address(settings.consul_addr, ssl=settings.consul_ssl)
        self._token_file = settings.consul_token_file
        self._static_token = _secret(settings.consul_token)
        # What python-consul2's endpoint groups take from their client. Its own constructor is passed over because it
        # lets CONSUL_HTTP_ADDR override arguments, and splits that at every colon.
        self.http = _Http(settings, patience)
        self.token = ""
        self._token_warned = False
        self.dc, self.consistency = None, "default"
        self.agent = base.Consul.Agent(self)

    def close(self) -> None:
        """Ends the connection to the agent; a later call opens another."""
        self.http.session.close()

    def reload_token(self) -> bool:
        """Reads the token file again; True when the token is another than before.

        A file that cannot be used keeps the token of before; where there is none, ConsulError.
        """
        try:
            token = self._read_token()
        except ConsulError as error:
            if not self.token:
                raise
            if not self._token_warned:
                log.warning("%s: going on with the token of before", error)
            self._token_warned = True
            return False
        changed = token != self.token
        self.token, self._token_warned = token, False
        return changed

    def _read_token(self) -> str:
        token = self._static_token
        try:
            if self._token_file:
                token = self._token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConsulError("denied", f"token file {self._token_file}: {type(error).__name__}") from None
        if not (token.isascii() and token.isprintable()) or " " in token:
            # requests would put the offending header, token and all, into its exception.
            raise ConsulError("denied", "the ACL token holds characters that no HTTP header carries")
        return token

    def get_service(self, service_id: str) -> AgentService | None:
        """The service as the agent holds it; None when it holds none of that id."""

        def read(response: base.Response) -> AgentService | None:
            # 200, 429 and 503 say passing, warning and critical; any of them comes with the service.
            if response.code not in (200, 404, 429, 503):
                base.CB._status(response)
            found = json.loads(response.body).get("Service")
            if not found:
                return None
            checks = json.loads(response.body).get("Checks") or []
            return AgentService(found["Address"], found["Port"], frozenset(check["CheckID"] for check in checks))

        entry: AgentService | None = self._get(f"/v1/agent/health/service/id/{service_id}", read)
        return entry

    def register(self, payload: dict[str, Any]) -> None:
        """Registers a service with all of its checks; one of the same id is replaced."""
        with self._translated():
            done = self.http.put(
                base.CB.bool(), "/v1/agent/service/register", headers=self._headers(), data=json.dumps(payload)
            )
        if not done:
            raise ConsulError("failed", "the agent did not take the registration")

    def deregister(self, service_id: str) -> None:
        """Removes a service and its checks from the agent; one that is not there is no error."""
        with self._translated():
            self.agent.service.deregister(service_id)

    def update_check(self, check_id: str, *, passing: bool, note: str) -> bool:
        """Reports to a TTL check. False when the agent knows no such check: 500 on Consul 1.8, 404 on newer ones."""
        call = self.agent.check.ttl_pass if passing else self.agent.check.ttl_fail
        try:
            with self._translated():
                return bool(call(check_id, notes=note))
        except ConsulError as error:
            if error.kind == "failed":
                return False
            raise

    def catalog_services(self, service: str, service_id: str) -> list[CatalogService]:
        """Everything in the cluster that carries this id (a stale read: any server may answer)."""
        params = [("stale", ""), ("filter", f"Service.ID == {json.dumps(service_id)}")]
        found = self._get(f"/v1/health/service/{service}", base.CB.json(), params)
        if not isinstance(found, list):
            raise ConsulError("failed", "the catalogue gave no list")
        return [_listing(item) for item in found if item["Service"]["ID"] == service_id]

    def node_name(self) -> str:
        """The agent's node name; "" where the token may not read it (agent:read)."""
        try:
            found = self._get("/v1/agent/self", base.CB.json())
        except ConsulError as error:
            if error.kind == "denied":
                return ""
            raise
        return str(found["Config"]["NodeName"])

    def list_kv(self, prefix: str, index: int, wait: float) -> tuple[int, dict[str, bytes]]:
        """Every value under `prefix/` by its key, and Consul's index of them; what the token may not read is left out.

        Waits up to `wait` s, and a sixteenth more, for something newer than `index`; at 0 not at all.
        """

        def read(response: base.Response) -> tuple[int, dict[str, bytes]]:
            return int(response.headers["X-Consul-Index"]), _values(response)

        params = [("recurse", ""), ("index", str(index)), ("wait", f"{wait:g}s")]
        found: tuple[int, dict[str, bytes]] = self._get(f"/v1/kv/{prefix}/", read, params)
        return found

    def get_kv(self, key: str) -> bytes | None:
        """One value, None where there is none; ConsulError `denied` where the token may not know."""
        found: dict[str, bytes] = self._get(f"/v1/kv/{key}", _values)
        return found.get(key)

    def local_address(self) -> str:
        """The address of this host on its way to the agent, as the kernel chooses it."""
        try:
            with socket.create_connection((self.host, self.port), timeout=TIMEOUT[0]) as connection:
                return str(connection.getsockname()[0])
        except OSError as error:
            raise self._unreachable(error) from None

    def _headers(self) -> dict[str, str]:
        return {"X-Consul-Token": self.token} if self.token else {}

    def _get(self, path: str, read: Callable[[Any], Any], params: list[tuple[str, str]] | None = None) -> Any:
        with self._translated():
            return self.http.get(read, path, params=params, headers=self._headers())

    def _unreachable(self, error: Exception) -> ConsulError:
        # The exception's own text names pools, retries and object addresses: none of it helps.
        return ConsulError(
            "unreachable", f"no answer from {self.scheme}://{self.host}:{self.port} ({type(error).__name__})"
        )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except requests.RequestException as error:
            raise self._unreachable(error) from None
        except (base.ACLPermissionDenied, base.ACLDisabled) as error:
            raise ConsulError("denied", f"Consul denies it: {self._clean(error)}") from None
        except base.ConsulException as error:
            raise ConsulError("failed", f"Consul failed: {self._clean(error)}") from None
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ConsulError("failed", f"an answer that is not Consul's ({type(error).__name__})") from None

    def _clean(self, error: Exception) -> str:
        text = " ".join(str(error).split())[:300]
        return text.replace(self.token, "***") if self.token else text


def _values(response: base.Response) -> dict[str, bytes]:
    base.CB._status(response)
    items = [] if response.code == 404 else json.loads(response.body)
    return {item["Key"]: base64.b64decode(item["Value"] or "") for item in items}


def _listing(item: dict[str, Any]) -> CatalogService:
    node, service = item["Node"], item["Service"]
    agent = [check["Status"] for check in item["Checks"] if check["CheckID"] == "serfHealth"]
    address = service["Address"] or node["Address"]
    return CatalogService(node["Node"], address, service["Port"], agent_alive="critical" not in agent)
