"""Runs the WSGI application in threads: each gets a whole request, and writes as fast as its client reads."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Executor
from typing import Any
from urllib.parse import unquote_to_bytes

from server.edge.connection import KEY, Connection
from server.edge.request_body import BodyNeeded, Message

Send = Callable[[Message], Awaitable[None]]
WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
SLICE_BYTES = 64 * 1024
UNDERSCORED = (b"via_consul",)
"""The only names with an underscore that are passed on: others could pass for the ones with a hyphen."""


def make_environ(scope: Message) -> dict[str, Any]:
    """The WSGI environment of an ASGI scope, as in PEP 3333, without `wsgi.input`."""
    path = scope["raw_path"]
    if not path.startswith(b"/") and b"://" in path:  # a proxy's absolute form
        path = b"/" + path.partition(b"://")[2].partition(b"/")[2]
    client, server = scope["client"] or ("", 0), scope["server"] or ("", 0)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope.get("method", "GET"),  # a WebSocket has none
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1]),
        "REMOTE_ADDR": client[0],
        "REMOTE_PORT": str(client[1]),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
        KEY: scope["state"][KEY],
    }
    for name, value in scope["headers"]:
        if b"_" in name and name not in UNDERSCORED:
            continue
        key = name.decode("latin-1").upper().replace("-", "_")
        key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
        text = value.decode("latin-1")
        environ[key] = f"{environ[key]},{text}" if key in environ else text
    return environ


class Exchange:
    """One request's response. `is_last`: nothing can follow it on the connection.

    A thread writes a stream while it is made. A whole response, one with a Content-Length, is sent by the event loop,
    so that a client who is slow to read it holds no thread.
    """

    def __init__(self, wsgi: WsgiApp, environ: dict[str, Any], send: Send, *, is_last: bool) -> None:
        self._wsgi = wsgi
        self._environ = environ
        self._send = send
        self._is_last = is_last
        self._connection: Connection = environ[KEY]
        self._loop = asyncio.get_running_loop()
        self._start: Message | None = None
        self._is_whole = False

    async def run(self, executor: Executor) -> bool:
        """Runs the application in `executor`. False: it needs the body, and has sent nothing."""
        chunks = await self._loop.run_in_executor(executor, self._call)
        if chunks is None:
            return False
        try:
            if self._is_whole:
                await self._send_all(b"".join(chunks))
            else:
                await self._loop.run_in_executor(executor, self._write_all, chunks)
        finally:
            if hasattr(chunks, "close"):
                await self._loop.run_in_executor(executor, chunks.close)
        return True

    def _call(self) -> Iterable[bytes] | None:
        try:
            return self._wsgi(self._environ, self._start_response)
        except BodyNeeded:
            return None

    def _start_response(self, status: str, headers: list[tuple[str, str]], _exc_info: object = None) -> None:
        encoded = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        self._is_whole = any(name == b"content-length" for name, _ in encoded)
        self._connection.is_chunked = not self._is_whole and self._environ["SERVER_PROTOCOL"] == "HTTP/1.1"
        if self._is_last:
            encoded.append((b"connection", b"close"))
        self._start = {"type": "http.response.start", "status": int(status[:3]), "headers": encoded}

    def _write_all(self, chunks: Iterable[bytes]) -> None:
        """Blocks until the client has taken most of it. BrokenPipeError: the client is gone, or the stream failed."""
        for chunk in chunks:
            asyncio.run_coroutine_threadsafe(self._send_part(chunk, more=True), self._loop).result()
            if self._connection.is_lost:
                raise BrokenPipeError("the client is gone")
        asyncio.run_coroutine_threadsafe(self._send_part(b"", more=False), self._loop).result()

    async def _send_all(self, data: bytes) -> None:
        for offset in range(0, len(data), SLICE_BYTES):
            await self._send_part(data[offset : offset + SLICE_BYTES], more=True)
        await self._send_part(b"", more=False)

    async def _send_part(self, data: bytes, *, more: bool) -> None:
        if self._start is not None:
            start, self._start = self._start, None
            await self._send(start)
        await self._send({"type": "http.response.body", "body": data, "more_body": more})
