"""The program as gunicorn runs it: one worker process, threads, and the engine loaded inside the worker.

Knows nothing about what an engine is: how to load one is passed in.
"""

from __future__ import annotations

import logging
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from gunicorn import arbiter
from gunicorn.app.base import BaseApplication

from server.observability import log_format
from server.settings import Settings
from server.wsgi.worker import Worker

if TYPE_CHECKING:  # the master process imports neither Flask nor the engine
    from flask import Flask

    from glmtts.engine.api import Engine
    from server.node import Node
    from server.observability.tracing import Tracing

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 4096
SPARE_FILES = 256
KEEPALIVE = 15
"""Seconds that a connection may be silent, before its first request or between two."""
HEARTBEAT = 120
"""Seconds that the worker's main loop may be silent before gunicorn takes it for dead; loading is not on it."""


class GunicornApp(BaseApplication):  # type: ignore[misc]
    """`GunicornApp(...).run()` serves until SIGTERM and exits with gunicorn's status."""

    def __init__(self, settings: Settings, load_engine: Callable[[], Engine], voices: Path | None) -> None:
        self.settings = settings
        self.node: Node | None = None
        self.tracing: Tracing | None = None
        self._load_engine = load_engine
        self._voices = voices
        super().__init__()

    def run(self) -> None:
        # The master measures a drain by the wall clock: one that is set meanwhile would cut what still runs.
        arbiter.time = SimpleNamespace(**{**vars(time), "time": time.monotonic})
        logging.captureWarnings(True)  # lines of the log like all others
        super().run()

    def load_config(self) -> None:
        """Everything that differs from gunicorn's defaults; neither its command line nor its files are read."""
        settings = self.settings
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        chosen: dict[str, Any] = {
            "bind": [f"{host}:{settings.port}"],
            "workers": 1,
            "worker_class": Worker,
            "threads": settings.threads,
            "worker_connections": _connections(),
            "timeout": HEARTBEAT,
            # From SIGTERM to SIGKILL: leaving Consul, serving on, the grace, and getting out.
            "graceful_timeout": int(3 + settings.propagation_delay + settings.drain_timeout + 10),
            "keepalive": KEEPALIVE,
            "control_socket_disable": True,
            # `via_consul` is the one name with an underscore that is let through, from anyone.
            "forwarder_headers": "VIA_CONSUL",
            "forwarded_allow_ips": "*",
            "secure_scheme_headers": {},
            "loglevel": settings.log_level,
            "logconfig_dict": log_format.config(settings.log_level),
            "when_ready": _one_worker_for_good,
        }
        for name, value in chosen.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """Builds the application, in the worker."""
        from server import node  # not in the master: it stays small, and forks without threads
        from server.wsgi import (
            app,  # not in the master: it stays small, and forks without threads
            malloc_trim,  # not in the master: it stays small, and forks without threads
        )

        try:
            context = app.make_context(self.settings, self._load_engine, self._voices)
        except (ValueError, OSError) as error:  # a setting that no node can work with, a file that is not there
            log.error("cannot start: %s", error)
            sys.exit(node.LOAD_FAILED)
        self.node, self.tracing = context.node, context.tracing
        malloc_trim.start_trimming(lambda: context.node.in_flight > 0)
        return app.create_app(context)


def _connections() -> int:
    """As many connections as the limit on open files bears."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + SPARE_FILES
    files = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    return max(64, files - SPARE_FILES)


def _one_worker_for_good(_arbiter: object) -> None:
    """A second worker, as after SIGHUP, would be a second node with the same id: those signals are ignored."""
    for number in (signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR2, signal.SIGWINCH):
        signal.signal(number, signal.SIG_IGN)
