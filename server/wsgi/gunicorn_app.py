"""The gunicorn application: one worker process with threads, which loads the engine."""

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

from server.edge.limits import MAX_CONNECTIONS
from server.observability import log_format
from server.settings import Settings
from server.wsgi import malloc_trim
from server.wsgi.worker import IGNORED_SIGNALS, Worker

if TYPE_CHECKING:  # the master process imports neither Flask nor the engine
    from flask import Flask

    from glmtts.engine.api import Engine
    from server.edge.asgi import Probe, Socket
    from server.node import Node
    from server.observability.tracing import Tracing
    from server.wsgi.tls import Certificate

log = logging.getLogger(__name__)

SPARE_FILES = 256
"""Open files for everything but connections."""
WORKER_TIMEOUT = 120
"""Seconds without a heartbeat of the worker's main loop before gunicorn kills it. Loading runs in another thread."""


class GunicornApp(BaseApplication):  # type: ignore[misc]
    """`GunicornApp(...).run()` serves until SIGTERM and exits with gunicorn's status."""

    def __init__(self, settings: Settings, load_engine: Callable[[], Engine], voices: Path | None) -> None:
        self.settings = settings
        self.node: Node | None = None
        self.tracing: Tracing | None = None
        self.certificate: Certificate | None = None
        self.probes: dict[str, Probe] = {}
        self.socket: Socket | None = None
        self._load_engine = load_engine
        self._voices = voices
        super().__init__()

    def run(self) -> None:
        # The master measures the drain by the wall clock: setting that clock would kill running requests.
        arbiter.time = SimpleNamespace(**{**vars(time), "time": time.monotonic})
        malloc_trim.limit_arenas()
        logging.captureWarnings(True)  # so that warnings are JSON too
        super().run()

    def load_config(self) -> None:
        """Sets everything that differs from gunicorn's defaults; its command line and its files are not read."""
        settings = self.settings
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        options: dict[str, Any] = {
            "bind": [f"{host}:{settings.port}"],
            "workers": 1,
            "worker_class": Worker,
            "worker_connections": _connections(),
            "timeout": WORKER_TIMEOUT,
            # From SIGTERM to SIGKILL: deregistering, the propagation delay, the drain, and the exit.
            "graceful_timeout": int(3 + settings.propagation_delay + settings.drain_timeout + 10),
            "control_socket_disable": True,
            "loglevel": settings.log_level,
            "logconfig_dict": log_format.config(settings.log_level),
            "when_ready": _ignore_worker_signals,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """Builds the WSGI application, in the worker."""
        # Not at the top: the master process must stay small, and fork without threads.
        from server import node
        from server.http import probes
        from server.http.speech_socket.endpoint import make_speech_socket
        from server.wsgi import app, tls

        try:
            self.certificate = tls.certificate_of(self.settings)
            context = app.make_context(self.settings, self._load_engine, self._voices)
        except (ValueError, OSError) as error:  # an invalid setting, a missing file
            log.error("cannot start: %s", error)
            sys.exit(node.LOAD_FAILED)
        self.node, self.tracing = context.node, context.tracing
        self.probes = {"/health": probes.health, "/ready": lambda: probes.ready(context.node)}
        malloc_trim.start_trimming(lambda: context.node.in_flight > 0)
        flask_app = app.create_app(context)
        self.socket = make_speech_socket(flask_app, context)
        return flask_app


def _connections() -> int:
    """Raises the limit on open files, and returns how many connections fit into it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = MAX_CONNECTIONS + SPARE_FILES
    if hard != resource.RLIM_INFINITY:
        files = min(files, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    return max(64, files - SPARE_FILES)


def _ignore_worker_signals(_arbiter: object) -> None:
    for number in IGNORED_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
