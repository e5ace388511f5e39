"""The lifecycle of a serving process (loading, ready, draining, exited) and the admission of requests.

Order on SIGTERM: not ready → deregister from Consul → serve for the propagation delay → reject new requests → wait for
running requests → exit.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from glmtts.engine.api import Engine, EngineInfo
from glmtts.errors import CancelledError, EngineError
from server.cluster_config import Limits
from server.errors import ApiError
from server.settings import Settings

log = logging.getLogger(__name__)

LOAD_FAILED = 3
"""Exit status of a worker that failed to load: gunicorn does not start another one."""


class Membership(Protocol):
    """The node's membership in the cluster. Every method is bounded in time and never raises."""

    def deregister_stale(self) -> None: ...
    def start(self, info: EngineInfo, stalled_seconds: Callable[[], float]) -> None: ...
    def deregister(self, timeout: float = 3.0) -> bool: ...


class Node:
    """One engine and the admission of requests to it. Thread-safe.

    `limits` returns the limits in force. `on_loaded` gets the engine before any request does, `on_dropped` the number
    of requests that a shutdown cuts off, `exit_process` the exit status after a failed load.
    """

    def __init__(
        self,
        settings: Settings,
        load_engine: Callable[[], Engine],
        membership: Membership,
        *,
        limits: Callable[[], Limits],
        on_loaded: Callable[[Engine], None],
        on_dropped: Callable[[int], None],
        exit_process: Callable[[int], None],
    ) -> None:
        self._settings = settings
        self._load_engine = load_engine
        self._membership = membership
        self._limits = limits
        self._on_loaded = on_loaded
        self._on_dropped = on_dropped
        self._exit_process = exit_process
        self._changed = threading.Condition()
        self._engine: Engine | None = None
        self._draining = False
        self._rejecting = False
        self._drain_expired = False
        self._in_flight = 0
        self._readings = 0

    def start(self) -> None:
        """Loads the engine in the background. A failed load ends the process."""
        threading.Thread(target=self._load, name="load", daemon=True).start()

    def _load(self) -> None:
        try:
            # An old registration must not send clients to a node that is loading.
            self._membership.deregister_stale()
            began = time.monotonic()
            engine = self._load_engine()
            self._on_loaded(engine)
        except BaseException as error:
            log.exception("Model failed to load", extra={"fields": {"reason": str(error) or repr(error)}})
            if not self._draining:
                self._membership.deregister(timeout=3.0)
                self._exit_process(LOAD_FAILED)
            return
        with self._changed:
            self._engine = engine
            if self._draining:
                return
            # Under the lock: a drain that starts now finds a registration to remove.
            self._membership.start(engine.info, engine.stalled_seconds)
        # Deployment scripts wait for exactly this line.
        log.info("Model loaded successfully", extra={"fields": {"seconds": round(time.monotonic() - began, 3)}})

    @property
    def engine(self) -> Engine:
        """The loaded engine. ApiError 503: it is not loaded yet."""
        if self._engine is None:
            raise ApiError(503, "loading", "the model is still loading", retry_after=5.0)
        return self._engine

    @property
    def info(self) -> EngineInfo | None:
        """What the loaded engine can do; None while it is loading."""
        return self._engine.info if self._engine is not None else None

    @property
    def in_flight(self) -> int:
        """Number of admitted speech requests, queued ones included."""
        return self._in_flight

    def not_ready_reason(self) -> str | None:
        """Why the node should get no new requests; None if it is ready."""
        if self._draining:
            return "draining"
        if self._engine is None:
            return "loading"
        stalled_seconds = self._engine.stalled_seconds()
        if stalled_seconds > self._settings.stall_timeout:
            return f"engine stalled: no progress for {stalled_seconds:.0f} s"
        return None

    def progress(self) -> dict[str, float | None]:
        """What clients that wait are told, so that they know a node that is stuck from one that is busy.

        Takes no lock: the event loop asks. Empty while the engine is loading, and where metrics are protected.
        """
        engine = self._engine
        if engine is None or self._settings.protect_metrics:
            return {}
        pace = engine.pace_seconds()
        return {
            "stalled_seconds": round(engine.stalled_seconds(), 3),
            "pace_seconds": None if pace is None else round(pace, 3),
            "queued": max(0, self._in_flight - engine.info.max_streams),
        }

    @contextmanager
    def admit(self) -> Iterator[Engine]:
        """Admits one speech request for the duration of the block. ApiError 503: draining or loading; 429: too busy."""
        with self._changed:
            if self._rejecting:
                raise _draining_error()
            engine, limits = self.engine, self._limits()
            backlog = engine.backlog_seconds()
            if self._in_flight >= limits.max_concurrent_requests or backlog > limits.max_backlog_seconds:
                raise ApiError(
                    429,
                    "busy",
                    f"too busy: {self._in_flight} requests in flight, {backlog:.0f} s of audio in the queue",
                    retry_after=min(60.0, max(1.0, backlog / max(1, engine.info.max_streams))),
                )
            self._in_flight += 1
        try:
            yield engine
        except (CancelledError, EngineError) as error:
            attributed = self.attribute_to_shutdown(error)
            if attributed is error:
                raise
            raise attributed from error
        finally:
            with self._changed:
                self._in_flight -= 1
                self._changed.notify_all()

    @contextmanager
    def admit_reading(self) -> Iterator[Engine]:
        """Admits a request that only has a text read; a drain waits for it. ApiError 503: draining or loading."""
        with self._changed:
            if self._rejecting:
                raise _draining_error()
            engine = self.engine
            self._readings += 1
        try:
            yield engine
        finally:
            with self._changed:
                self._readings -= 1
                self._changed.notify_all()

    def attribute_to_shutdown(self, error: Exception) -> Exception:
        """ApiError 503 for a request that the end of a drain has cut off; any other error unchanged."""
        return _draining_error() if self._drain_expired and isinstance(error, CancelledError | EngineError) else error

    def drain(self) -> bool:
        """Shuts down in order, and blocks until that is done. Returns False at once if a drain is already running."""
        with self._changed:
            if self._draining:
                return False
            self._draining = True
            was_ready = self._engine is not None
        log.info("Draining: deregistering from Consul")
        self._membership.deregister(timeout=3.0)
        if was_ready:
            time.sleep(self._settings.propagation_delay)
        with self._changed:
            self._rejecting = True
            log.info("Draining: rejecting new requests", extra={"fields": {"running": self._in_flight}})
            self._changed.wait_for(lambda: self._requests() == 0, timeout=self._settings.drain_timeout)
            dropped = self._requests()
            self._drain_expired = True
        self._on_dropped(dropped)
        if self._engine is not None:
            self._engine.close(0.0)
        log.info("Drained", extra={"fields": {"dropped": dropped}})
        return True

    def _requests(self) -> int:
        """Number of admitted requests of any kind."""
        return self._in_flight + self._readings

    def shut_down_now(self) -> None:
        """Shuts down within 1.5 s: deregisters from Consul and drops all running requests."""
        self._draining = self._rejecting = True
        self._on_dropped(self._in_flight)
        deregistration = threading.Thread(target=self._membership.deregister, args=(1.0,), daemon=True)
        deregistration.start()
        deregistration.join(1.5)
        log.warning("Shutting down now", extra={"fields": {"dropped": self._in_flight}})


def _draining_error() -> ApiError:
    return ApiError(503, "draining", "this node is shutting down; use another one", retry_after=1.0)
