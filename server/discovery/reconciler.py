"""One reconciliation of this node with Consul: register where needed, report progress, read back from the catalogue."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from glmtts.engine.api import EngineInfo
from server.discovery import metadata
from server.discovery.consul import AgentClient, AgentService, CatalogService, ConsulError
from server.discovery.registration_state import RegistrationState
from server.settings import Settings

log = logging.getLogger(__name__)

CONFIRM_SECONDS = 2.0
"""How long the catalogue may take to show a new registration."""


class ConflictError(Exception):
    """Another node has our service id: registering would replace it."""


@dataclass(frozen=True)
class _Endpoint:
    """Where clients find this node. `address` is "" for the agent's own; `node` is then the agent's name, if known."""

    address: str
    port: int
    node: str

    def __str__(self) -> str:
        return f"{self.address or 'the address of the agent'}:{self.port}"

    def matches(self, service: CatalogService) -> bool:
        if self.address:
            return (service.address, service.port) == (self.address, self.port)
        return service.port == self.port and self.node in ("", service.node)


class Reconciler:
    """Calls Consul on behalf of one node and keeps its `state`. For one thread at a time.

    `leaving` cuts the wait for the catalogue short. ValueError: `advertise` is not an address that others can reach.
    """

    def __init__(self, settings: Settings, leaving: threading.Event) -> None:
        self._settings = settings
        self._leaving = leaving
        self.service_id = metadata.service_id(
            settings.consul_service, settings.node_name or socket.gethostname(), settings.port
        )
        self.state = RegistrationState(enabled=settings.consul)
        self.counts = {"registrations": 0, "heartbeats": 0, "failures": 0}
        loopback = settings.loopback_cluster
        self._advertise = metadata.validate_advertise(settings.advertise or "", allow_loopback=loopback)
        if self._advertise and metadata.is_loopback(settings.host) and not metadata.is_loopback(self._advertise):
            log.warning("the server listens on %s only, so %s is not reachable", settings.host, self._advertise)
        self._client = AgentClient(settings)

    def close(self) -> None:
        """Closes the connection to the agent."""
        self._client.close()

    def reconcile(self, info: EngineInfo, stalled_seconds: Callable[[], float]) -> str:
        """Makes Consul show this node as it is, and returns what to report of it.

        `stalled_seconds` returns the time since the engine last made progress. ConflictError: another node has the id.
        ConsulError: an agent call failed, or (`unconfirmed`) the catalogue does not show the service.
        """
        if self._client.reload_token():
            self.state.on("outdated")
        endpoint = self._endpoint()
        service = self._client.get_service(self.service_id)
        if service is not None and not self._is_own(service, endpoint.address):
            raise self._conflict(endpoint, f"{service.address or 'the address of the agent'}:{service.port}")
        checks = {metadata.health_check_id(self.service_id), metadata.progress_check_id(self.service_id)}
        if service is None or not checks <= service.checks:
            self.state.on("outdated")
        is_new = self.state.must_register
        if is_new:
            self._check_conflict(endpoint)
            self._register(info, endpoint.address)
        stall = self._heartbeat(info, endpoint.address, stalled_seconds())
        self._confirm(endpoint, CONFIRM_SECONDS if is_new else 0.0)
        if is_new:
            self._back_off_on_conflict(endpoint)
        self.state.on("stalled" if stall else "progressing")
        return stall or f"{self.service_id} at {endpoint}"

    def deregister(self) -> bool:
        """Removes our service from the agent; False if there is none, or if it belongs to another node."""
        self._client.reload_token()
        service = self._client.get_service(self.service_id)
        if service is None:
            return False
        if not self._is_own(service, self._address()):
            log.warning("%s at %s:%d belongs to another node and stays", self.service_id, service.address, service.port)
            return False
        self._client.deregister(self.service_id)
        return True

    def _address(self) -> str:
        """The address for clients: the setting, else our end of the connection to the agent; "" for the agent's own."""
        address = self._advertise or self._client.local_address()
        return "" if metadata.is_loopback(address) and not self._settings.loopback_cluster else address

    def _endpoint(self) -> _Endpoint:
        address = self._address()
        return _Endpoint(address, self._settings.port, "" if address else self._client.node_name())

    def _is_own(self, service: AgentService, address: str) -> bool:
        return (service.address, service.port) == (address, self._settings.port)

    def _catalog_services(self) -> list[CatalogService]:
        return self._client.catalog_services(self._settings.consul_service, self.service_id)

    def _check_conflict(self, endpoint: _Endpoint) -> None:
        """ConflictError if a live agent lists our id at another endpoint. That of a dead agent would stay for days."""
        for service in self._catalog_services():
            if service.agent_alive and not endpoint.matches(service):
                raise self._conflict(endpoint, f"{service.address}:{service.port} on {service.node}")

    def _conflict(self, endpoint: _Endpoint, other: str) -> ConflictError:
        return ConflictError(
            f"{self.service_id} is registered at {other}, and this node is at {endpoint}: "
            "two nodes need two names (node_name)"
        )

    def _back_off_on_conflict(self, endpoint: _Endpoint) -> None:
        """If two nodes register one id at the same moment, both deregister; jitter lets one of them win."""
        try:
            self._check_conflict(endpoint)
        except ConflictError:
            self.deregister()
            raise

    def _register(self, info: EngineInfo, address: str) -> None:
        payload = metadata.registration_payload(self.service_id, address, self._settings.port, info, self._settings)
        self.state.on("sent")
        self._client.register(payload)
        self.state.on("accepted")
        self.counts["registrations"] += 1
        if self.counts["registrations"] == 1 and self._settings.deregister_after < 60:
            log.info("deregister_after %g s: Consul raises it to 60 s", self._settings.deregister_after)

    def _heartbeat(self, info: EngineInfo, address: str, stalled_seconds: float) -> str:
        """Reports to the TTL check. Returns why the engine counts as stalled, "" if it makes progress."""
        is_stalled = stalled_seconds >= self._settings.stall_timeout
        stall = f"the engine has made no progress for {stalled_seconds:.0f} s" if is_stalled else ""
        check = metadata.progress_check_id(self.service_id)
        note = stall or "the engine makes progress"
        if not self._client.update_check(check, passing=not stall, note=note):
            self._register(info, address)  # the agent has lost the check since get_service
            if not self._client.update_check(check, passing=not stall, note=note):
                raise ConsulError("failed", f"the agent has just taken the check {check}, and does not know it")
        self.counts["heartbeats"] += 1
        return stall

    def _confirm(self, endpoint: _Endpoint, timeout: float) -> None:
        """Waits until the catalogue shows us: an agent may accept a token that the servers then deny."""
        deadline = time.monotonic() + timeout
        while not any(endpoint.matches(service) for service in self._catalog_services()):
            if time.monotonic() >= deadline:
                raise ConsulError(
                    "unconfirmed",
                    f"the agent holds {self.service_id}, the catalogue does not show it; the token needs "
                    f"service:write on {self._settings.consul_service} and node:read",
                )
            if self._leaving.wait(0.1):
                return
