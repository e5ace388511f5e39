"""The life of one serving process: loading, ready, draining, gone; and who is let in meanwhile.

Order on SIGTERM: not ready → out of Consul → serve on for the propagation delay → refuse → finish what runs → exit.
Knows nothing about routes, gunicorn or what an engine is made of.
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
"""Exit status of a worker that could not load; gunicorn's sign not to start another."""


class Membership(Protocol):
    """What the node needs of its place in Consul; every method is bounded in time and never raises."""

    def deregister_stale(self) -> None: ...
    def start(self, info: EngineInfo, progress_age: Callable[[], float]) -> None: ...
    def deregister(self, timeout: float = 3.0) -> bool: ...


class Node:
    """One engine and its doors. All methods are thread-safe.

    `limits` tells how much is let in just now. `loaded` is given the engine before anybody else is, `cut` is told how
    many requests a drain cut, `die` the exit status of a failed load.
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

    def start(self) -> None:
        """Loads in the background. A load that fails ends the program."""
        threading.Thread(target=self._load, name="load", daemon=True).start()

    def _load(self) -> None:
        try:
            # A predecessor's registration must not send us callers while we load.
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
            # Inside the lock: a drain that begins now finds a registry that it can leave.
            self._membership.start(engine.info, engine.stalled_seconds)
        # Scripts in the field wait for this very line.
        log.info("Model loaded successfully", extra={"fields": {"seconds": round(time.monotonic() - began, 3)}})

    @property
    def engine(self) -> Engine:
        """The loaded engine; ApiError 503 while there is none."""
        if self._engine is None:
            raise ApiError(503, "loading", "the model is being loaded", retry_after=5.0)
        return self._engine

    @property
    def info(self) -> EngineInfo | None:
        """What was loaded, if anything was yet."""
        return self._engine.info if self._engine is not None else None

    @property
    def in_flight(self) -> int:
        """Speech requests that are inside, waiting ones included."""
        return self._in_flight

    def not_ready_reason(self) -> str | None:
        """Why no new work should be sent here; None when ready."""
        if self._draining:
            return "draining"
        if self._engine is None:
            return "loading"
        age = self._engine.stalled_seconds()
        return f"engine stalled: no progress for {age:.0f} s" if age > self._settings.stall_timeout else None

    @contextmanager
    def admit(self) -> Iterator[Engine]:
        """Holds one of the bounded places for speech; ApiError 503 or 429 when there is none."""
        with self._changed:
            if self._rejecting:
                raise _draining()
            engine, limits = self.engine, self._limits()
            owed = engine.backlog_seconds()
            if self._in_flight >= limits.max_concurrent_requests or owed > limits.max_backlog_seconds:
                raise ApiError(
                    429,
                    "busy",
                    f"{self._in_flight} requests and {owed:.0f} s of audio are before you",
                    retry_after=min(60.0, max(1.0, owed / max(1, engine.info.max_streams))),
                )
            self._in_flight += 1
        try:
            yield engine
        except (CancelledError, EngineError) as error:
            if (told := self.attribute_to_shutdown(error)) is error:
                raise
            raise told from error
        finally:
            with self._changed:
                self._in_flight -= 1
                self._changed.notify_all()

    def attribute_to_shutdown(self, error: Exception) -> Exception:
        """What a request is told of its end: an engine closed at the end of the grace is no fault, nor a hangup."""
        return _draining() if self._drain_expired and isinstance(error, CancelledError | EngineError) else error

    def drain(self) -> bool:
        """Leaves in order, blocking; False at once if that goes on already."""
        with self._changed:
            if self._draining:
                return False
            self._draining = True
            was_ready = self._engine is not None
        log.info("Draining: leaving discovery")
        self._membership.deregister(timeout=3.0)
        if was_ready:
            time.sleep(self._settings.propagation_delay)
        with self._changed:
            self._rejecting = True
            log.info("Draining: no new work", extra={"fields": {"running": self._in_flight}})
            self._changed.wait_for(lambda: self._in_flight == 0, timeout=self._settings.drain_timeout)
            left = self._in_flight
            self._drain_expired = True
        self._on_dropped(left)
        if self._engine is not None:
            self._engine.close(0.0)
        log.info("Drained", extra={"fields": {"cut": left}})
        return True

    def shut_down_now(self) -> None:
        """The quick way out: leaves discovery in at most a second, and lets the rest fall."""
        self._draining = self._rejecting = True
        self._on_dropped(self._in_flight)
        farewell = threading.Thread(target=self._membership.deregister, args=(1.0,), daemon=True)
        farewell.start()
        farewell.join(1.5)
        log.warning("Leaving at once", extra={"fields": {"cut": self._in_flight}})


def _draining() -> ApiError:
    return ApiError(503, "draining", "this node is shutting down; ask another", retry_after=1.0)
