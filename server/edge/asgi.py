"""The ASGI application: answers probes itself, and gives everything else to the application's threads."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

from server.edge.bridge import Exchange, Send, WsgiApp, make_environ
from server.edge.connection import KEY, Connection
from server.edge.errors import JSON_HEADERS, EdgeError, malformed
from server.edge.limits import Limits
from server.edge.request_body import MemoryBudget, Message, PendingBody, Receive, RequestBody

GRACE_SECONDS = 0.05
"""How long a body may take to arrive before the application is asked whether it would refuse the request unread."""

Socket = Callable[[Message, Receive, Send, Executor], Awaitable[None]]
Probe = Callable[[], tuple[int, dict[str, Any]]]


class EdgeApp:
    """Serves `wsgi` with `threads` threads. `probes` are answered in the event loop: status and JSON by path.

    `socket` serves WebSockets, and may use the same threads.
    """

    def __init__(
        self, wsgi: WsgiApp, socket: Socket, probes: Mapping[str, Probe], limits: Limits, threads: int
    ) -> None:
        self._wsgi = wsgi
        self._socket = socket
        self._probes = probes
        self._limits = limits
        self._budget = MemoryBudget(limits.max_buffered_bytes)
        self._threads = ThreadPoolExecutor(threads, "request")
        self._metrics_thread = ThreadPoolExecutor(1, "metrics")

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serves one request, or one WebSocket until it is closed."""
        if scope["type"] == "websocket":
            await self._socket(scope, receive, send, self._threads)
            return
        connection: Connection = scope["state"][KEY]
        body = RequestBody(receive, connection, self._limits, self._budget)
        try:
            _check_head(scope)
            if scope["method"] == "GET" and scope["path"] in self._probes:
                await _send_json(send, *self._probes[scope["path"]]())
            else:
                await self._serve(scope, body, send)
        except BrokenPipeError:
            await connection.cut()
        except EdgeError as error:
            error.path = scope["path"]
            error.log()
            await _send(send, error.status, error.headers, error.body)
        finally:
            body.release()

    async def _serve(self, scope: Message, body: RequestBody, send: Send) -> None:
        environ = make_environ(scope)
        # Metrics have a thread of their own, so that they can be read when all others are busy.
        is_metrics = scope["method"] == "GET" and scope["path"] == "/metrics"
        executor = self._metrics_thread if is_metrics else self._threads
        await body.read(0.0 if "HTTP_EXPECT" in environ else GRACE_SECONDS)
        if not body.is_complete:
            environ["wsgi.input"] = PendingBody()
            if await Exchange(self._wsgi, environ, send, is_last=True).run(executor):
                return
            await body.read(self._limits.request_timeout)
        environ["wsgi.input"] = body.as_input()
        await Exchange(self._wsgi, environ, send, is_last=not body.is_complete).run(executor)


def _check_head(scope: Message) -> None:
    """EdgeError for what the HTTP parser accepts and a proxy may read in another way."""
    if scope["http_version"] not in ("1.0", "1.1"):
        raise malformed(505, f"expected version 1.0 or 1.1, got {scope['http_version']}")
    if {b"content-length", b"transfer-encoding"} <= {name for name, _ in scope["headers"]}:
        raise malformed(400, "expected Content-Length or Transfer-Encoding, got both")


async def _send_json(send: Send, status: int, values: dict[str, Any]) -> None:
    data = json.dumps(values).encode()
    await _send(send, status, [*JSON_HEADERS, (b"content-length", b"%d" % len(data))], data)


async def _send(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
