"""The gunicorn worker: an event loop at the edge, the application in threads behind it, and an orderly end.

SIGTERM drains the node first, and serves meanwhile; SIGQUIT, SIGINT and the death of the parent exit at once; signals
that mean a reload elsewhere are ignored.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import uvicorn
from gunicorn.workers.base import Worker as BaseWorker

from server.edge import limits
from server.edge.asgi import EdgeApp
from server.edge.inbox import Turns
from server.edge.limits import Limits
from server.edge.protocol import EdgeProtocol

if TYPE_CHECKING:  # the master process imports this file, but not Flask
    from server.node import Node
    from server.settings import Settings

IGNORED_SIGNALS = (signal.SIGHUP, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU, signal.SIGWINCH)
"""Signals that make a gunicorn start or stop workers: a second one would be a second node with the same id."""
SWITCH_SECONDS = 0.001
"""How long a thread may keep the interpreter's lock from the event loop and the engine; Python's default is 0.005."""
HEARTBEAT_SECONDS = 1.0
EXIT_TIMEOUT = 5
"""Seconds that connections have to close once the drain is done."""
TRACE_FLUSH_TIMEOUT = 2.0
"""Seconds to export the traces of the last requests when the worker exits."""


class _Server(uvicorn.Server):
    """uvicorn's server, with the worker's handler for the signals that it takes."""

    def __init__(self, config: uvicorn.Config, worker: Worker) -> None:
        super().__init__(config)
        self._worker = worker

    def handle_exit(self, sig: int, frame: Any) -> None:
        handle = self._worker.handle_quit if sig == signal.SIGINT else self._worker.handle_exit
        handle(sig, frame)


def _is_our_fault(record: logging.LogRecord) -> bool:
    """False for what uvicorn logs as an error, with a traceback, whenever a client's text is not UTF-8."""
    return not (record.exc_info and isinstance(record.exc_info[1], UnicodeDecodeError))


class Worker(BaseWorker):  # type: ignore[misc]
    """Serves `self.app`, a server.wsgi.gunicorn_app.GunicornApp, in one process."""

    _node: Node | None = None
    _server: _Server | None = None

    def init_signals(self) -> None:
        super().init_signals()
        for number in IGNORED_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        signal.set_wakeup_fd(-1)  # the event loop has its own

    def load_wsgi(self) -> None:
        super().load_wsgi()
        self._node = self.app.node
        self._node.start()

    def run(self) -> None:
        sys.setswitchinterval(SWITCH_SECONDS)
        if self.alive:
            asyncio.run(self._serve())
        if self.app.tracing is not None:
            self.app.tracing.flush(TRACE_FLUSH_TIMEOUT)
        # A thread that hangs, in loading or in a call to the device, must not keep the process alive.
        os._exit(0)

    async def _serve(self) -> None:
        if self.app.certificate is not None:
            loop = asyncio.get_running_loop()
            # uvicorn has no option for it, and a minute is too long for those who never begin.
            timeout = {"ssl_handshake_timeout": limits.TLS_HANDSHAKE_SECONDS}
            loop.create_server = partial(loop.create_server, **timeout)  # type: ignore[method-assign]
        self._server = _Server(self._config(), self)
        heartbeat = asyncio.create_task(self._beat())
        await self._server.serve(sockets=self.sockets)
        heartbeat.cancel()

    def _config(self) -> uvicorn.Config:
        settings: Settings = self.app.settings
        edge = Limits(
            read_timeout=settings.read_timeout,
            request_timeout=settings.request_timeout,
            write_timeout=settings.write_timeout,
            max_body_bytes=settings.max_body_bytes,
            max_connections=self.cfg.worker_connections,
        )
        certificate = self.app.certificate
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        logging.getLogger("uvicorn.error").addFilter(_is_our_fault)
        return uvicorn.Config(
            cast(Any, EdgeApp(self.wsgi, self.app.socket, self.app.probes, edge, settings.threads)),
            loop="asyncio",
            http=cast(Any, partial(EdgeProtocol, edge_limits=edge, turns=Turns())),
            ws="websockets-sansio",
            ws_max_size=limits.MAX_MESSAGE_BYTES,
            ws_per_message_deflate=False,  # a small frame would become a large message
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=settings.trusted_proxies,
            ssl_context_factory=None if certificate is None else lambda *_: certificate.context,
            server_header=False,
            timeout_keep_alive=limits.KEEPALIVE_SECONDS,
            timeout_graceful_shutdown=EXIT_TIMEOUT,
            h11_max_incomplete_event_size=limits.MAX_HEAD_BYTES,
        )

    async def _beat(self) -> None:
        """Tells gunicorn that the event loop runs, and exits if there is no gunicorn any more."""
        while True:
            self.notify()
            if self.app.certificate is not None:
                self.app.certificate.reload_if_changed()
            if os.getppid() != self.ppid:
                # The master was killed: a worker alone would keep the port and stay registered.
                self._exit_now(1)
            await asyncio.sleep(HEARTBEAT_SECONDS)

    # Shutdown

    def handle_exit(self, sig: int, frame: Any) -> None:
        """SIGTERM: serves until the drain is done, then exits."""
        if self._node is None:
            self.alive = False
            return
        threading.Thread(target=self._drain, args=(self._node,), name="drain", daemon=True).start()

    def _drain(self, node: Node) -> None:
        if node.drain():
            self.alive = False
            if self._server is not None:
                self._server.should_exit = True

    def handle_quit(self, sig: int, frame: Any) -> None:
        """SIGQUIT, SIGINT: exits at once, without waiting for threads."""
        self._exit_now(0)

    def _exit_now(self, status: int) -> None:
        if self._node is not None:
            self._node.shut_down_now()
        os._exit(status)
