"""A gunicorn thread worker that withstands slow and idle clients, and shuts down in order.

It changes gunicorn's own thread worker (written for 27.0, and the version is pinned because of this file):
- A connection gets a thread only when it has sent something, so that idle connections hold none.
- /health, /ready and /metrics have threads of their own, and respond when all others are busy.
- Reading a request and writing its response are bounded in time.
- Malformed HTTP gets an error in the format of the API.
- SIGTERM drains the node first, and serves meanwhile; SIGQUIT, SIGINT and the death of the parent exit at once.
"""

from __future__ import annotations

import errno
import json
import os
import select
import socket
import struct
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from selectors import EVENT_READ
from typing import TYPE_CHECKING, Any

from gunicorn import util
from gunicorn.http import errors as http
from gunicorn.workers.gthread import TConn, ThreadWorker

from server.settings import Settings

if TYPE_CHECKING:  # the master process imports this file, but not Flask
    from server.node import Node

PROBES = (b"GET /health ", b"GET /ready ", b"GET /metrics ", b"GET /metrics?")
PROBE_THREADS = 2
PEEK_BYTES = 4096
MAX_IDLE_CONNECTIONS = 1024
"""Maximum number of open connections that have sent nothing; one more closes the oldest."""
SEND_BUFFER_BYTES = 256 * 1024
"""How much of a response the kernel may buffer for a client that does not read (5 s of 24 kHz audio)."""
TRACE_FLUSH_TIMEOUT = 2.0
"""Seconds to export the traces of the last requests when the worker exits."""
LINGER_SECONDS = 2.0
"""How long a rejected client may go on sending, so that it reads the error instead of a connection reset."""


STATUS_BY_ERROR: dict[type[Exception], int] = {
    http.InvalidResponseHeader: 500,
    http.InvalidResponseHeaderName: 500,
    http.LimitRequestLine: 414,
    http.ExpectationFailed: 417,
    http.LimitRequestHeaders: 431,
    http.UnsupportedTransferCoding: 501,
    http.ParseException: 400,
}
"""gunicorn's errors for a request that it cannot parse; any other error is the server's own."""


class DeadlineReader:
    """Reads from a connection: at most `timeout` seconds between two reads, and for the head of a request in all."""

    def __init__(self, connection: socket.socket, timeout: float) -> None:
        self._connection = connection
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout

    def recv(self, size: int) -> bytes:
        """Raises gunicorn's NoMoreData if the client is too slow: that closes the connection."""
        remaining = min(self._timeout, self._deadline - time.monotonic())
        poller = select.poll()
        poller.register(self._connection, select.POLLIN)
        if remaining <= 0 or not poller.poll(1000 * remaining):
            raise http.NoMoreData()
        return self._connection.recv(size)

    def set_deadline(self, seconds: float) -> None:
        """Sets a new deadline: for the body, once the head is read."""
        self._deadline = time.monotonic() + seconds


class Worker(ThreadWorker):  # type: ignore[misc]
    """Serves `self.app`, a server.wsgi.gunicorn_app.GunicornApp, in one process."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._settings: Settings = self.app.settings
        self._node: Node | None = None

    def init_process(self) -> None:
        self._probes = ThreadPoolExecutor(PROBE_THREADS, thread_name_prefix="probe")
        super().init_process()

    def load_wsgi(self) -> None:
        super().load_wsgi()
        self._node = self.app.node
        self._node.start()

    # Connections

    def accept(self, listener: socket.socket) -> None:
        """Accepts a connection; the poller, not a thread, waits for its first bytes."""
        try:
            client, address = listener.accept()
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK, errno.EMFILE):
                return
            raise
        timeout = self._settings.write_timeout
        seconds = struct.pack("ll", int(timeout), int(timeout % 1 * 1e6))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, seconds)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.nr_conns += 1
        conn = TConn(self.cfg, client, address, listener.getsockname())
        conn.timeout = time.monotonic() + self.cfg.keepalive
        self.pending_conns.append(conn)
        if len(self.pending_conns) > MAX_IDLE_CONNECTIONS:
            self.pending_conns[0].timeout = 0.0
            self.murder_pending()
        self.poller.register(conn.sock, EVENT_READ, partial(self.on_pending_socket_readable, conn))

    def enqueue_req(self, conn: TConn) -> None:
        """Gives a connection that has sent something to a thread."""
        if _is_probe(conn):
            future = self._probes.submit(self.handle, conn, False)
        else:
            future = self.tpool.submit(self.handle, conn)
        future.add_done_callback(lambda done: self.method_queue.defer(self.finish_request, conn, done))

    def handle(self, conn: TConn, linger: bool = True) -> Any:
        """Serves one request in a thread of a pool, bounded in time. False: the connection is done."""
        conn.sock.setblocking(True)
        conn.init()
        conn.data_ready = True
        conn.parser.unreader.sock = DeadlineReader(conn.sock, self._settings.read_timeout)
        result = super().handle(conn)
        if not result and linger:
            # Not in gunicorn's finish_request, which runs in the thread that accepts connections.
            util.close_graceful(conn.sock, timeout=LINGER_SECONDS, max_drain=2 * self._settings.max_body_bytes)
        return result

    def handle_request(self, req: Any, conn: TConn) -> Any:
        conn.parser.unreader.sock.set_deadline(self._settings.request_timeout)
        try:
            return super().handle_request(req, conn)
        except BlockingIOError:
            # SO_SNDTIMEO: the client does not read. gunicorn handles a broken pipe without a traceback.
            raise BrokenPipeError(errno.EPIPE, "the client read nothing for too long") from None

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: Exception) -> None:
        """Responds to a request that did not reach the application, or that it did not finish."""
        status = next((status for kind, status in STATUS_BY_ERROR.items() if isinstance(exc, kind)), 500)
        request_id = uuid.uuid4().hex
        if status == 500:
            code, message = "internal", "internal server error; the server's log has it under this request's id"
            self.log.error("request %s failed", request_id, exc_info=exc)
        else:
            code, message = "malformed_http", f"malformed HTTP: {exc}"[:300]
            # Without the received bytes: after a wrong length they are part of a body.
            self.log.warning("request %s is malformed HTTP: %s", request_id, type(exc).__name__)
        with suppress(OSError):
            client.sendall(_error_response(HTTPStatus(status), code, message, request_id))

    def finish_request(self, conn: TConn, done: Future[Any]) -> None:
        if done.cancelled() or done.exception() is not None or not done.result():
            self.nr_conns -= 1
            conn.sock.close()
            return
        super().finish_request(conn, done)

    # Shutdown

    def handle_exit(self, sig: int, frame: Any) -> None:
        """SIGTERM: serves until the drain is done, then exits as gunicorn does."""
        exit_worker = partial(super().handle_exit, sig, frame)
        if self._node is None:
            exit_worker()
            return
        threading.Thread(target=self._drain, args=(self._node, exit_worker), name="drain", daemon=True).start()

    def _drain(self, node: Node, exit_worker: Callable[[], None]) -> None:
        if node.drain():
            exit_worker()

    def handle_quit(self, sig: int, frame: Any) -> None:
        """SIGQUIT, SIGINT: exits at once, without waiting for threads."""
        self._exit_now(0)

    def is_parent_alive(self) -> bool:
        if not super().is_parent_alive():
            # The master was killed: a worker alone would keep the port and stay registered.
            self._exit_now(1)
        return True

    def _cap_keepalive(self, deadline: float) -> None:
        super()._cap_keepalive(deadline)
        for conn in self.pending_conns:  # connections that have sent nothing must not delay the exit either
            conn.timeout = min(conn.timeout, deadline)

    def _exit_now(self, status: int) -> None:
        if self._node is not None:
            self._node.shut_down_now()
        os._exit(status)

    def run(self) -> None:
        super().run()
        if self.app.tracing is not None:
            self.app.tracing.flush(TRACE_FLUSH_TIMEOUT)
        # A thread that hangs, in loading or in a call to the device, must not keep the process alive.
        os._exit(0)


def _is_probe(conn: TConn) -> bool:
    """Whether a complete probe has arrived, head and blank line, so that no probe thread waits for bytes."""
    try:
        head = conn.sock.recv(PEEK_BYTES, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except OSError:
        return False
    has_body = b"content-length:" in head.lower() or b"transfer-encoding:" in head.lower()
    return head.startswith(PROBES) and b"\r\n\r\n" in head and not has_body


def _error_response(status: HTTPStatus, code: str, message: str, request_id: str) -> bytes:
    """A complete response in the format of server.errors, which needs Flask."""
    body = json.dumps({"error": {"code": code, "message": message, "field": None}}).encode()
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nConnection: close\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nX-Request-Id: {request_id}\r\n\r\n"
    )
    return head.encode() + body
