"""Membership in the Consul cluster: join after warm-up, stay while the engine makes progress, leave first.

One thread owns every call to Consul, so nothing of ours can appear again once it has left. Whatever Consul does, the
node serves on. Knows nothing about HTTP requests, the engine's inside, or Prometheus (counters and a callback are
there to be read).
"""

from __future__ import annotations

import logging
import random
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from server.discovery import metadata
from server.discovery.consul import AgentClient, AgentService, CatalogService, ConsulError
from server.settings import Settings

if TYPE_CHECKING:  # deregister_stale runs before anything heavy is imported
    from glmtts.engine.api import EngineInfo

log = logging.getLogger(__name__)

State = Literal["disabled", "waiting", "registered", "stalled", "retrying", "refused", "left"]

BACKOFF_CAP = 60.0
MAX_HEARTBEAT_INTERVAL = 10.0
"""Seconds; and never more than 0.6 of the TTL, so that one slow beat is no outage."""
CONFIRM_SECONDS = 2.0
"""How long the catalogue may take to show a fresh registration."""


class _RefusedError(Exception):
    """Our id is another's: registering would take its place in the cluster."""


@dataclass(frozen=True)
class _Place:
    """Where callers find this node. `address` is "" for the agent's own; `node` is then the agent's name, if known."""

    address: str
    port: int
    node: str

    def __str__(self) -> str:
        return f"{self.address or 'the address of the agent'}:{self.port}"

    def is_that_of(self, listing: CatalogService) -> bool:
        if self.address:
            return (listing.address, listing.port) == (self.address, self.port)
        return listing.port == self.port and self.node in ("", listing.node)


class ConsulRegistration:
    """This node's place in the cluster. All methods are thread-safe, bounded in time, and survive Consul's absence.

    `info` and `progress_age` (seconds since the engine last made progress) may be given at `start`, when they are
    known. `on_change(state, reason)` is called at each change of state, from the registry's thread. ValueError:
    settings that no cluster can work with.
    """

    def __init__(
        self,
        settings: Settings,
        info: EngineInfo | None,
        progress_age: Callable[[], float],
        port: int,
        *,
        on_change: Callable[[str, str], None] | None = None,
    ) -> None:
        self._settings = settings
        self._info = info
        self._progress_age = progress_age
        self._port = port
        self._on_change = on_change
        self.service_id = metadata.service_id(settings.consul_service, settings.node_name or socket.gethostname(), port)
        self.counts = {"registrations": 0, "heartbeats": 0, "failures": 0}
        self._advertise = metadata.check_advertised(settings.advertise or "", allow_loopback=settings.loopback_cluster)
        if self._advertise and metadata.is_loopback(settings.host) and not metadata.is_loopback(self._advertise):
            log.warning("bound to %s, which nobody reaches at the advertised %s", settings.host, self._advertise)
        self._client = AgentClient(settings)
        self._lock = threading.Lock()
        self._leaving = threading.Event()
        self._thread: threading.Thread | None = None
        self._state: State = "waiting" if settings.consul else "disabled"
        self._trouble = ""
        self._ours = False  # whether something of ours may be at the agent
        self._again = True  # whether to register at the next visit, whatever the agent holds
        self._confirmed = False  # whether the catalogue has shown us

    def state(self) -> str:
        """disabled, waiting (for `start`), registered, stalled (engine), retrying, refused (id taken) or left."""
        return self._state

    def deregister_stale(self) -> None:
        """Before loading: removes what an earlier life of this node left, so that nobody is sent to a node that loads.

        Never raises, and takes seconds at the very worst. Another's registration under our id is left alone.
        """
        if self._state != "waiting":
            return
        try:
            self._client.reload_token()
            if self._remove():
                log.info("removed the old registration of %s", self.service_id)
        except ConsulError as error:
            log.warning("cannot look for an old registration of %s: %s", self.service_id, error)

    def start(self, info: EngineInfo | None = None, progress_age: Callable[[], float] | None = None) -> None:
        """After warm-up: joins, in the background, and stays. Nothing happens when the node is already leaving."""
        with self._lock:
            self._info = info or self._info
            self._progress_age = progress_age or self._progress_age
            if self._state == "disabled" or self._leaving.is_set() or self._thread is not None:
                return
            if self._info is None:
                raise ValueError("start needs the EngineInfo of what was loaded")
            self._thread = threading.Thread(target=self._run, args=(self._info,), name="consul", daemon=True)
            self._thread.start()

    def deregister(self, timeout: float = 3.0) -> bool:
        """Leaves: no beat any more, then off the agent. Waits `timeout` s at most; True once nothing of ours is there.

        Idempotent, and final: a later `start` does nothing.
        """
        with self._lock:
            self._leaving.set()
            thread = self._thread
        if thread is not None:
            thread.join(timeout)
            if thread.is_alive():
                log.warning("Consul has not confirmed within %g s that we left; its checks will see to it", timeout)
        elif self._state == "waiting":
            self._client.close()
            self._become("left", "never registered")
        return not self._ours

    # Everything below runs in the registration's thread, except _remove, which deregister_stale calls before it exists.

    def _run(self, info: EngineInfo) -> None:
        failures = 0
        while not self._leaving.is_set():
            failures, delay = self._try(info, failures)
            self._leaving.wait(delay)
        self._leave()

    def _try(self, info: EngineInfo, failures: int) -> tuple[int, float]:
        """One visit. Takes and gives the failures in a row; gives how long to wait (s)."""
        beats = self.counts["heartbeats"]
        delay = min(MAX_HEARTBEAT_INTERVAL, 0.6 * self._settings.consul_ttl) * random.uniform(0.5, 1.0)
        try:
            self._visit(info)
            return 0, delay
        except ConsulError as error:
            if error.kind == "unconfirmed":
                # Once, if the catalogue has lost us: each registration puts the HTTP check's first run off.
                self._again, self._confirmed = self._confirmed, False
            self._become("retrying", str(error), error.kind)
        except _RefusedError as error:
            self._again = True
            self._become("refused", str(error))
        except Exception as error:  # this thread must outlive every surprise: without it the node is lost
            self._become("retrying", f"a fault of ours: {error!r}", "fault")
            log.debug("while talking to Consul", exc_info=True)
        self.counts["failures"] += 1
        backoff = max(0.1, random.uniform(0.0, min(BACKOFF_CAP, 2.0**failures)))
        if self.counts["heartbeats"] > beats:  # the agent is there, and counts on the next beat
            backoff = min(backoff, delay)
        return min(failures + 1, 16), backoff

    def _visit(self, info: EngineInfo) -> None:
        """Verifies presence, registers where it is lost, beats, and reads back from the catalogue."""
        if self._client.reload_token():
            self._again = True  # the agent goes on syncing a service with the token that registered it
        address = self._address()
        place = _Place(address, self._port, "" if address else self._client.node_name())
        entry = self._client.get_service(self.service_id)
        if entry is not None and not self._is_ours(entry, address):
            self._ours = False
            raise self._refusal(place, f"{entry.address or 'the address of the agent'}:{entry.port}")
        checks = {metadata.health_check(self.service_id), metadata.progress_check(self.service_id)}
        fresh = self._again or entry is None or not checks <= entry.checks
        if fresh:
            self._refuse_another(place)
            self._register(info, address)
        stalled = self._beat(info, address)
        self._confirm(place, fresh)
        if stalled:
            self._become("stalled", stalled)
        else:
            self._become("registered", f"{self.service_id} at {place}")

    def _address(self) -> str:
        """What callers shall use: the setting, else our end of the connection to the agent; "" for the agent's own."""
        address = self._advertise or self._client.local_address()
        return "" if metadata.is_loopback(address) and not self._settings.loopback_cluster else address

    def _is_ours(self, entry: AgentService, address: str) -> bool:
        return (entry.address, entry.port) == (address, self._port)

    def _refuse_another(self, place: _Place) -> None:
        """Raises when a live agent lists our id at another place. One whose agent is dead would bar us for days."""
        for listing in self._client.catalog_services(self._settings.consul_service, self.service_id):
            if listing.agent_alive and not place.is_that_of(listing):
                raise self._refusal(place, f"{listing.address}:{listing.port} on {listing.node}")

    def _refusal(self, place: _Place, other: str) -> _RefusedError:
        return _RefusedError(
            f"{self.service_id} is registered at {other}, and we are at {place}: two nodes need two names (node_name)"
        )

    def _register(self, info: EngineInfo, address: str) -> None:
        payload = metadata.registration(self.service_id, address, self._port, info, self._settings)
        self._ours = True  # even if the answer is lost
        self._client.register(payload)
        self._again = False
        self.counts["registrations"] += 1
        if self.counts["registrations"] == 1 and self._settings.deregister_after < 60:
            log.info("deregister_after %g s: Consul makes it 1 minute at least", self._settings.deregister_after)

    def _beat(self, info: EngineInfo, address: str) -> str:
        """Reports the engine's progress, or its lack. Gives why the engine counts as stalled, or ""."""
        age = self._progress_age()
        stalled = "" if age < self._settings.stall_timeout else f"the engine has made no progress for {age:.0f} s"
        check = metadata.progress_check(self.service_id)
        note = stalled or "the engine makes progress"
        if not self._client.update_check(check, passing=not stalled, note=note):
            self._register(info, address)  # the agent has forgotten the check since we looked
            if not self._client.update_check(check, passing=not stalled, note=note):
                raise ConsulError("failed", f"the agent does not know {check}, which it just took")
        self.counts["heartbeats"] += 1
        return stalled

    def _confirm(self, place: _Place, fresh: bool) -> None:
        """Reads us back from the catalogue: an agent may say yes to a token that the servers then deny."""
        deadline = time.monotonic() + (CONFIRM_SECONDS if fresh else 0.0)
        while not any(
            place.is_that_of(listing)
            for listing in self._client.catalog_services(self._settings.consul_service, self.service_id)
        ):
            if time.monotonic() >= deadline:
                raise ConsulError(
                    "unconfirmed",
                    f"the agent holds {self.service_id}, the catalogue does not show it; the token needs "
                    f"service:write on {self._settings.consul_service} and node:read",
                )
            if self._leaving.wait(0.1):
                return
        self._confirmed = True
        if fresh:
            self._yield_to_another(place)

    def _yield_to_another(self, place: _Place) -> None:
        """Two nodes that registered one id in the same instant both step back; jitter lets one of them win."""
        try:
            self._refuse_another(place)
        except _RefusedError:
            self._remove()
            self._ours = False
            raise

    def _remove(self) -> bool:
        """Takes our registration off the agent; False when there is none, or it is another's."""
        entry = self._client.get_service(self.service_id)
        if entry is None:
            return False
        if not self._is_ours(entry, self._address()):
            log.warning("%s at %s:%d is not ours: left alone", self.service_id, entry.address, entry.port)
            return False
        self._client.deregister(self.service_id)
        return True

    def _leave(self) -> None:
        reason = "deregistered" if self._ours else "nothing was registered"
        for pause in (0.1, 0.3, 0.0):
            try:
                if self._ours:
                    self._client.reload_token()
                    self._remove()
                self._ours = False
                break
            except ConsulError as error:
                reason = f"not deregistered: {error}"
                time.sleep(pause)
        self._client.close()
        self._become("left", reason)

    def _become(self, state: State, reason: str, trouble: str = "") -> None:
        """Changes the state; says so once, however long it lasts."""
        if (state, trouble) == (self._state, self._trouble):
            return
        self._state, self._trouble = state, trouble
        level = logging.INFO if state in ("registered", "left") else logging.WARNING
        log.log(level, "Consul: %s: %s", state, reason)
        if self._on_change is not None:
            self._on_change(state, reason)
