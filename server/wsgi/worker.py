"""A gunicorn thread worker that slow or silent callers cannot wear out, and that leaves in order.

What it changes in gunicorn's own (27.0 read; the version is pinned because of this file):
- A connection gets a thread only when it has sent something, so silent ones hold none.
- /health, /ready and /metrics have threads of their own: they are answered when all others are busy.
- Reading a request and taking an answer are bounded in time.
- What is no HTTP is refused in the API's own error shape.
- SIGTERM drains the node first, while everything is still served; SIGQUIT, SIGINT or the parent's death leave at once.

Knows nothing about what is served.
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
PEEK = 4096
MAX_SILENT = 1024
"""Connections that may be open without having sent anything; one more, and the oldest is closed."""
SEND_BUFFER = 256 * 1024
"""Bytes of answer that the kernel may hold for a reader who does not read (5 s of 24 kHz audio)."""
LAST_TRACES = 2.0
"""Seconds that the traces of the last requests have to get out when the worker ends."""
LINGER = 2.0
"""Seconds that a refused caller has to finish sending, so that he reads the refusal instead of a reset."""


STATUS: dict[type[Exception], int] = {
    http.InvalidResponseHeader: 500,
    http.InvalidResponseHeaderName: 500,
    http.LimitRequestLine: 414,
    http.ExpectationFailed: 417,
    http.LimitRequestHeaders: 431,
    http.UnsupportedTransferCoding: 501,
    http.ParseException: 400,
}
"""What gunicorn raises of a request that it cannot read; all else is a fault of ours."""


class TimedReader:
    """The reading side of a connection: at most `silence` s between bytes, and for a request's head as a whole."""

    def __init__(self, connection: socket.socket, silence: float) -> None:
        self._connection = connection
        self._silence = silence
        self._deadline = time.monotonic() + silence

    def recv(self, size: int) -> bytes:
        """Raises gunicorn's NoMoreData when the caller is too slow: the connection is then closed."""
        left = min(self._silence, self._deadline - time.monotonic())
        waiting = select.poll()
        waiting.register(self._connection, select.POLLIN)
        if left <= 0 or not waiting.poll(1000 * left):
            raise http.NoMoreData()
        return self._connection.recv(size)

    def allow(self, seconds: float) -> None:
        """Sets the deadline anew: for the body, once the head has come."""
        self._deadline = time.monotonic() + seconds


class Worker(ThreadWorker):  # type: ignore[misc]
    """One process: it serves `self.app`, which is a server.wsgi.gunicorn_app.GunicornApp."""

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
        """Takes a connection and waits in the poller, not in a thread, for its first bytes."""
        try:
            client, address = listener.accept()
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK, errno.EMFILE):
                return
            raise
        timeout = self._settings.write_timeout
        seconds = struct.pack("ll", int(timeout), int(timeout % 1 * 1e6))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, seconds)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.nr_conns += 1
        conn = TConn(self.cfg, client, address, listener.getsockname())
        conn.timeout = time.monotonic() + self.cfg.keepalive
        self.pending_conns.append(conn)
        if len(self.pending_conns) > MAX_SILENT:
            self.pending_conns[0].timeout = 0.0
            self.murder_pending()
        self.poller.register(conn.sock, EVENT_READ, partial(self.on_pending_socket_readable, conn))

    def enqueue_req(self, conn: TConn) -> None:
        """Hands a connection that has sent something to a thread."""
        if _is_probe(conn):
            future = self._probes.submit(self.handle, conn, False)
        else:
            future = self.tpool.submit(self.handle, conn)
        future.add_done_callback(lambda done: self.method_queue.defer(self.finish_request, conn, done))

    def handle(self, conn: TConn, linger: bool = True) -> Any:
        """Serves one request in a pool's thread; bounded in time. False: the connection is done."""
        conn.sock.setblocking(True)
        conn.init()
        conn.data_ready = True
        conn.parser.unreader.sock = TimedReader(conn.sock, self._settings.read_timeout)
        result = super().handle(conn)
        if not result and linger:
            # Here, not in gunicorn's finish_request: that is the thread that accepts connections.
            util.close_graceful(conn.sock, timeout=LINGER, max_drain=2 * self._settings.max_body_bytes)
        return result

    def handle_request(self, req: Any, conn: TConn) -> Any:
        conn.parser.unreader.sock.allow(self._settings.request_timeout)
        try:
            return super().handle_request(req, conn)
        except BlockingIOError:
            # SO_SNDTIMEO ran out: a reader that does not read. gunicorn takes a broken pipe quietly.
            raise BrokenPipeError(errno.EPIPE, "the reader took nothing for too long") from None

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: Exception) -> None:
        """Answers a request that the application has not seen, or has not got through."""
        status = next((status for kind, status in STATUS.items() if isinstance(exc, kind)), 500)
        request_id = uuid.uuid4().hex
        if status == 500:
            code, message = "internal", "a fault of the server's; the request id finds it in its log"
            self.log.error("request %s failed", request_id, exc_info=exc)
        else:
            code, message = "malformed_http", f"no HTTP that is understood here: {exc}"[:300]
            # Not what came: where a length was wrong, that is a piece of a body.
            self.log.warning("request %s is no HTTP: %s", request_id, type(exc).__name__)
        with suppress(OSError):
            client.sendall(_refusal(HTTPStatus(status), code, message, request_id))

    def finish_request(self, conn: TConn, done: Future[Any]) -> None:
        if done.cancelled() or done.exception() is not None or not done.result():
            self.nr_conns -= 1
            conn.sock.close()
            return
        super().finish_request(conn, done)

    # Leaving

    def handle_exit(self, sig: int, frame: Any) -> None:
        """SIGTERM: everything is served on until the drain is done; only then gunicorn's own way out."""
        leave = partial(super().handle_exit, sig, frame)
        if self._node is None:
            leave()
            return
        threading.Thread(target=self._drain, args=(self._node, leave), name="drain", daemon=True).start()

    def _drain(self, node: Node, leave: Callable[[], None]) -> None:
        if node.drain():
            leave()

    def handle_quit(self, sig: int, frame: Any) -> None:
        """SIGQUIT, SIGINT: at once; threads are not waited for."""
        self._abandon(0)

    def is_parent_alive(self) -> bool:
        if not super().is_parent_alive():
            # The program was killed: a worker on its own would hold the port and stay in discovery.
            self._abandon(1)
        return True

    def _cap_keepalive(self, deadline: float) -> None:
        super()._cap_keepalive(deadline)
        for conn in self.pending_conns:  # whoever has sent nothing holds up the exit no longer than who may send more
            conn.timeout = min(conn.timeout, deadline)

    def _abandon(self, status: int) -> None:
        if self._node is not None:
            self._node.shut_down_now()
        os._exit(status)

    def run(self) -> None:
        super().run()
        if self.app.tracing is not None:
            self.app.tracing.flush(LAST_TRACES)
        # A thread that still hangs, in a load or in a call to the device, must not hold the process.
        os._exit(0)


def _is_probe(conn: TConn) -> bool:
    """Whether a whole probe has come: its head, to the blank line, so that no probe thread ever waits for bytes."""
    try:
        head = conn.sock.recv(PEEK, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except OSError:
        return False
    has_body = b"content-length:" in head.lower() or b"transfer-encoding:" in head.lower()
    return head.startswith(PROBES) and b"\r\n\r\n" in head and not has_body


def _refusal(status: HTTPStatus, code: str, message: str, request_id: str) -> bytes:
    """A whole answer, in the shape that server.errors gives its own; that one needs Flask."""
    body = json.dumps({"error": {"code": code, "message": message, "field": None}}).encode()
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nConnection: close\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nX-Request-Id: {request_id}\r\n\r\n"
    )
    return head.encode() + body
