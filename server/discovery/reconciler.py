"""One reconciliation of this node with Consul: register where needed, report progress, read back from the catalogue."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from glmtts.engine.api import EngineInfo
from server.discovery import advertise, metadata
from server.discovery.advertise import Endpoint
from server.discovery.consul import AgentClient
from server.discovery.errors import ConflictError, ConsulError, NoAddressError
from server.discovery.registration_state import RegistrationState
from server.discovery.services import AgentService, CatalogService
from server.settings import Settings

log = logging.getLogger(__name__)

CONFIRM_SECONDS = 2.0
"""How long the catalogue may take to show a new registration."""


class Reconciler:
    """Calls Consul on behalf of one node and keeps its `state`. For one thread at a time.

    `leaving` cuts the wait for the catalogue short. ValueError: `advertise` is not an address that others can reach.
    """

    def __init__(self, settings: Settings, leaving: threading.Event) -> None:
        self._settings = settings
        self._leaving = leaving
        self.service_id = metadata.own_service_id(settings)
        self.state = RegistrationState(enabled=settings.consul)
        self.counts = {"registrations": 0, "heartbeats": 0, "failures": 0}
        loopback = settings.loopback_cluster
        self._advertise = advertise.validate_advertise(settings.advertise or "", allow_loopback=loopback)
        self._registered: Endpoint | None = None
        """What the last registration said."""
        self._healthy = False
        """Whether /health passed when the catalogue last showed us."""
        self._node = ""
        """Name of the Consul node that the catalogue last showed us on; "" before that."""
        self._client = AgentClient(settings)

    def close(self) -> None:
        """Closes the connection to the agent."""
        self._client.close()

    def reconcile(self, info: EngineInfo, stalled_seconds: Callable[[], float]) -> str:
        """Makes Consul show this node as it is, and returns what to report of it.

        `stalled_seconds` returns the time since the engine last made progress. ConflictError: another node has the id.
        NoAddressError: clients could not come here. ConsulError: an agent call failed, or (`unconfirmed`) the catalogue
        does not show the service.
        """
        if self._client.acl_token.reload():
            self.state.on("outdated")
        endpoint = self._endpoint()
        service = self._client.get_service(self.service_id)
        if service is not None and not self._is_own(service, endpoint.address):
            raise self._conflict(endpoint, f"{service.address or 'the address of the agent'}:{service.port}")
        self._check_address(endpoint, is_registered=service is not None)
        is_complete = service is not None and metadata.check_ids(self.service_id) <= service.checks
        if not is_complete or self._registered != endpoint:
            self.state.on("outdated")
        is_new = self.state.must_register
        if is_new:
            self._check_conflict(endpoint)
            self._register(info, endpoint)
        stall = self._heartbeat(info, endpoint, stalled_seconds())
        if is_new or not self._node:
            self._confirm(endpoint)
            self._back_off_on_conflict(endpoint)
        else:
            self._check_still_shown()
        self.state.on("stalled" if stall else "progressing")
        return stall or f"{self.service_id} at {endpoint}"

    def wait(self, seconds: float) -> None:
        """Waits until the node leaves, the token file changes, or `seconds` are over."""
        self._client.acl_token.wait(self._leaving, seconds)

    @property
    def catalog_entry(self) -> dict[str, str]:
        """What names our service to the catalogue's deregister endpoint."""
        return {"Node": self._node or "NAME", "ServiceID": self.service_id}

    def deregister(self) -> bool:
        """Removes our service from the agent; False if there is none, or if it belongs to another node."""
        self._client.acl_token.reload()
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
        return "" if advertise.is_loopback(address) and not self._settings.loopback_cluster else address

    def _endpoint(self) -> Endpoint:
        address = self._address()
        if address:
            return Endpoint(address, self._settings.port, address)
        node = self._client.node()
        return Endpoint("", self._settings.port, node.address if node else "", node.name if node else "")

    def _check_address(self, endpoint: Endpoint, *, is_registered: bool) -> None:
        """NoAddressError if clients could not come to `endpoint`; what is registered there is removed first."""
        reason = ""
        if not advertise.is_reachable(endpoint.reached_at):
            reason = "which other hosts cannot reach: set advertise"
        elif advertise.is_loopback(self._settings.host) and not advertise.is_loopback(endpoint.reached_at):
            reason = f"and the server listens on {self._settings.host} only: listen on 0.0.0.0 (--host)"
            if not endpoint.reached_at:
                reason += ", or give the token agent:read if that address is a loopback address too"
        if not reason:
            return
        if is_registered:
            self._client.deregister(self.service_id)
        raise NoAddressError(f"not registered: clients would be sent to {endpoint}, {reason}")

    def _is_own(self, service: AgentService, address: str) -> bool:
        return (service.address, service.port) == (address, self._settings.port)

    def _catalog_services(self) -> list[CatalogService]:
        return self._client.catalog_services(self._settings.consul_service, self.service_id)

    def _check_conflict(self, endpoint: Endpoint) -> None:
        """ConflictError if a live agent lists our id at another endpoint. That of a dead agent would stay for days."""
        for service in self._catalog_services():
            if service.agent_alive and not _matches(endpoint, service):
                raise self._conflict(endpoint, f"{service.address}:{service.port} on {service.node}")

    def _conflict(self, endpoint: Endpoint, other: str) -> ConflictError:
        return ConflictError(
            f"{self.service_id} is registered at {other}, and this node is at {endpoint}: "
            "two nodes need two names (node_name)"
        )

    def _back_off_on_conflict(self, endpoint: Endpoint) -> None:
        """If two nodes register one id at the same moment, both deregister; jitter lets one of them win."""
        try:
            self._check_conflict(endpoint)
        except ConflictError:
            self.deregister()
            raise

    def _register(self, info: EngineInfo, endpoint: Endpoint) -> None:
        # A node that passed, and whose registration is lost, need not wait for the agent to ask.
        healthy = self._healthy and self._registered == endpoint
        payload = metadata.registration_payload(self.service_id, endpoint, info, self._settings, healthy=healthy)
        self._registered = endpoint
        self.state.on("sent")
        self._client.register(payload)
        self.state.on("accepted")
        self.counts["registrations"] += 1
        if self.counts["registrations"] == 1 and self._settings.deregister_after < 60:
            log.info("deregister_after %g s: Consul raises it to 60 s", self._settings.deregister_after)

    def _heartbeat(self, info: EngineInfo, endpoint: Endpoint, stalled_seconds: float) -> str:
        """Reports to the TTL checks. Returns why the engine counts as stalled, "" if it makes progress."""
        is_stalled = stalled_seconds >= self._settings.stall_timeout
        stall = f"the engine has made no progress for {stalled_seconds:.0f} s" if is_stalled else ""
        if not self._update_checks(stall):
            self._register(info, endpoint)  # the agent has lost a check since get_service
            if not self._update_checks(stall):
                raise ConsulError("failed", f"the agent has just taken {self.service_id}, and does not know its checks")
        self.counts["heartbeats"] += 1
        return stall

    def _update_checks(self, stall: str) -> bool:
        """Updates both TTL checks; False if the agent lacks one of them."""
        life, progress = metadata.life_check_id(self.service_id), metadata.progress_check_id(self.service_id)
        return self._client.update_check(life, passing=True, note="the process is alive") and self._client.update_check(
            progress, passing=not stall, note=stall or "the engine makes progress"
        )

    def _confirm(self, endpoint: Endpoint) -> None:
        """Waits until the catalogue shows a new registration: an agent may accept a token that the servers then deny.

        Consul reads the whole service for this, so it is done once; `_check_still_shown` asks for one node only.
        """
        deadline = time.monotonic() + CONFIRM_SECONDS
        while not (shown := [each for each in self._catalog_services() if _matches(endpoint, each)]):
            if time.monotonic() >= deadline:
                raise self._unconfirmed()
            if self._leaving.wait(0.1):
                return
        self._node, self._healthy = shown[0].node, self._health_passes(shown[0].passing)

    def _check_still_shown(self) -> None:
        passing = self._client.passing_checks(self._node, self.service_id)
        if passing is None:
            raise self._unconfirmed()
        self._healthy = self._health_passes(passing)

    def _health_passes(self, passing: frozenset[str]) -> bool:
        return metadata.health_check_id(self.service_id) in passing

    def _unconfirmed(self) -> ConsulError:
        return ConsulError(
            "unconfirmed",
            f"the agent holds {self.service_id}, the catalogue does not show it; the token needs "
            f"service:write on {self._settings.consul_service} and node:read",
        )


def _matches(endpoint: Endpoint, service: CatalogService) -> bool:
    if endpoint.address:
        return (service.address, service.port) == (endpoint.address, endpoint.port)
    return service.port == endpoint.port and endpoint.node in ("", service.node)
