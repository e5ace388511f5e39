"""This node's membership in the Consul cluster: join after warm-up, stay while the engine makes progress, leave first.

One thread makes all calls to Consul, so that nothing can be registered after the node has left. The node serves
whatever Consul does.
"""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections.abc import Callable, Mapping

from glmtts.engine.api import EngineInfo
from server.discovery.errors import ConflictError, ConsulError, NoAddressError
from server.discovery.reconciler import Reconciler
from server.discovery.registration_state import Status
from server.settings import Settings

log = logging.getLogger(__name__)

BACKOFF_CAP = 10.0
"""Seconds: a node is back that soon after its agent is."""
MAX_HEARTBEAT_INTERVAL = 10.0
"""Seconds; and at most 0.6 of the TTL, so that one slow heartbeat does not fail the check."""


class ConsulRegistration:
    """Registers this node and keeps it registered. Thread-safe; every method is bounded in time.

    `on_change(status, reason)` is called at each change of status, from the registration's thread. ValueError:
    `advertise` is not an address that others can reach.
    """

    def __init__(self, settings: Settings, *, on_change: Callable[[str, str], None] | None = None) -> None:
        self._heartbeat_interval = min(MAX_HEARTBEAT_INTERVAL, 0.6 * settings.consul_ttl)
        self._on_change = on_change
        self._leaving = threading.Event()
        self._reconciler = Reconciler(settings, self._leaving)
        self._state = self._reconciler.state
        self._announced: tuple[Status, str] = (self._state.status, "")
        self._reason = ""
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def status(self) -> Status:
        """The status after the last reconciliation."""
        return self._announced[0]

    def reason(self) -> str:
        """Why the status is what it is, in words; "" before the first reconciliation. It has nothing of an exception
        that is a bug of ours."""
        return self._reason

    @property
    def counts(self) -> Mapping[str, int]:
        """Registrations, heartbeats and failed reconciliations since the start."""
        return self._reconciler.counts

    def deregister_stale(self) -> None:
        """Removes what an earlier run of this node left in Consul, so that clients do not find a node that is loading.

        Call it before loading. Never raises, and takes a few seconds at most. Leaves another node's service alone.
        """
        if self._state.name != "waiting":
            return
        service_id = self._reconciler.service_id
        try:
            if self._reconciler.deregister():
                log.info("removed the old registration of %s", service_id)
        except ConsulError as error:
            log.warning("cannot look for an old registration of %s: %s", service_id, error)

    def start(self, info: EngineInfo, stalled_seconds: Callable[[], float]) -> None:
        """Joins the cluster in the background, after warm-up. Does nothing if the node is leaving already.

        `stalled_seconds` returns the time since the engine last made progress.
        """
        with self._lock:
            if self._state.name == "disabled" or self._leaving.is_set() or self._thread is not None:
                return
            self._thread = threading.Thread(target=self._run, args=(info, stalled_seconds), name="consul", daemon=True)
            self._thread.start()

    def deregister(self, timeout: float = 3.0) -> bool:
        """Leaves the cluster: stops the heartbeats, then deregisters. Waits at most `timeout` seconds.

        Returns whether nothing of this node is left at the agent. Idempotent and final: a later `start` does nothing.
        """
        with self._lock:
            self._leaving.set()
            thread = self._thread
        if thread is not None:
            thread.join(timeout)
            if thread.is_alive():
                log.warning("not deregistered within %g s: Consul's checks will take the node out", timeout)
        elif self._state.name == "waiting":
            self._reconciler.close()
            self._state.on("left")
            self._announce("never registered")
        return not self._state.may_exist

    # Everything below runs in the registration's thread.

    def _run(self, info: EngineInfo, stalled_seconds: Callable[[], float]) -> None:
        failures = 0
        while not self._leaving.is_set():
            heartbeats = self.counts["heartbeats"]
            delay = self._heartbeat_interval * random.uniform(0.5, 1.0)
            if self._attempt(info, stalled_seconds):
                failures = 0
            else:
                backoff = max(0.1, random.uniform(0.0, min(BACKOFF_CAP, 2.0**failures)))
                # If the agent took a heartbeat it expects the next one in time.
                delay = min(backoff, delay) if self.counts["heartbeats"] > heartbeats else backoff
                failures = min(failures + 1, 16)
            self._reconciler.wait(delay)
        self._leave()

    def _attempt(self, info: EngineInfo, stalled_seconds: Callable[[], float]) -> bool:
        """Reconciles once; whether it succeeded."""
        try:
            self._announce(self._reconciler.reconcile(info, stalled_seconds))
            return True
        except ConsulError as error:
            self._state.on("hidden" if error.kind == "unconfirmed" else "failed")
            self._announce(str(error), error.kind)
        except ConflictError as error:
            self._state.on("conflict")
            self._announce(str(error))
        except NoAddressError as error:
            self._state.on("no_address")
            self._announce(str(error))
        except Exception as error:  # without this thread the node would drop out of the cluster
            self._state.on("failed")
            self._announce(f"internal error: {error!r}", "internal")
            log.debug("while talking to Consul", exc_info=True)
        self._reconciler.counts["failures"] += 1
        return False

    def _leave(self) -> None:
        reason = "nothing was registered"
        for pause in (0.1, 0.3, 0.0) if self._state.may_exist else ():
            try:
                reason = "deregistered" if self._reconciler.deregister() else "nothing was registered"
                self._state.on("left")
                break
            except ConsulError as error:
                reason = f"not deregistered: {error}{self._remedy() if error.kind == 'denied' else ''}"
                time.sleep(pause)
        self._state.on("abandoned" if self._state.may_exist else "left")
        self._reconciler.close()
        self._announce(reason)

    def _remedy(self) -> str:
        """What an operator has to do. Nothing that an agent finds out later reaches the catalogue with a dead token."""
        entry = json.dumps(self._reconciler.catalog_entry)
        return f"; clients may still be sent here: PUT {entry} to /v1/catalog/deregister with a valid token"

    def _announce(self, reason: str, error_kind: str = "") -> None:
        """Logs the status and calls `on_change`, once for each change of status or kind of error."""
        status = self._state.status
        if (status, error_kind) == self._announced:
            return
        self._announced = (status, error_kind)
        self._reason = "internal error: see the log" if error_kind == "internal" else reason
        level = logging.INFO if status == "registered" or self._state.name == "left" else logging.WARNING
        log.log(level, "Consul: %s: %s", status, reason)
        if self._on_change is not None:
            self._on_change(status, reason)
