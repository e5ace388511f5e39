"""HTTP/1.1 on a connection, with limits: uvicorn's protocol over h11, and what a stranger may do to it.

- The head of a request must be complete in time, and an idle connection ends.
- A client must take what waits for it at a least rate.
- A refused request is answered before the connection closes, although its body is not read.
- A client that closes its side is told from one that is gone.
- What comes is parsed in portions, also for the WebSocket that the connection may become.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from server.edge import limits
from server.edge.connection import KEY, Connection
from server.edge.errors import malformed
from server.edge.inbox import Inbox, Turns
from server.edge.limits import Limits, MinRate
from server.edge.transport import MeteredTransport

CHECK_INTERVAL = 1.0
PROBES = (0.0, 0.02, 0.1)
"""Seconds after which a client that has closed its side is probed: one that is gone resets the connection after the
first, which one of the next finds."""
SHED = 64
"""How many idle connections are closed at once when there are too many."""


class EdgeProtocol(H11Protocol):
    """One connection. `edge_limits` apply to it, and it shares `turns` with the others."""

    def __init__(self, *args: Any, edge_limits: Limits, turns: Turns, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limits = edge_limits
        self._turns = turns
        self._peer = Connection(self._close_now)
        self._waiting_since = self.loop.time()
        self._has_begun_a_head = False
        self._first_line = b""
        self._lingering = False
        self._discarded = 0
        self._has_ended = False
        self._socket: asyncio.Protocol | None = None

    # Connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._metered = MeteredTransport(transport, self._close, self._become)
        self._inbox = Inbox(self._turns, self._metered, self._take)
        self._download = MinRate(self._limits.write_timeout, limits.MIN_DOWNLOAD_RATE, self.loop.time())
        self.app_state = {**self.app_state, KEY: self._peer}
        super().connection_made(cast(asyncio.Transport, self._metered))
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, limits.SEND_BUFFER_BYTES)
        if len(self.connections) > self._limits.max_connections:
            self._shed()
        self._check()

    def connection_lost(self, exc: Exception | None) -> None:
        self._has_ended = True
        if self._socket is not None:
            self._socket.connection_lost(exc)
        else:
            super().connection_lost(exc)
        self._peer.lose()

    def _become(self, protocol: asyncio.Protocol) -> None:
        """From now on the connection is a WebSocket, and `protocol` gets what comes."""
        self._socket = protocol

    def pause_writing(self) -> None:
        if self._socket is not None:
            self._socket.pause_writing()
        else:
            super().pause_writing()

    def resume_writing(self) -> None:
        if self._socket is not None:
            self._socket.resume_writing()
        else:
            super().resume_writing()

    def _check(self) -> None:
        """Cuts the connection if its client is too slow, and looks again later, also after it became a WebSocket."""
        now, waiting = self.loop.time(), self._metered.inner.get_write_buffer_size() > 0
        if self._has_ended or (self._metered.inner.is_closing() and not waiting):
            return
        self._peer.is_too_slow = self._download.update(now, self._metered.taken, waiting=waiting) <= 0
        if self._peer.is_too_slow or self._is_overdue(now):
            self._metered.inner.abort()
            return
        self.loop.call_later(CHECK_INTERVAL, self._check)

    @property
    def _is_idle(self) -> bool:
        """Whether no request is being answered."""
        return self in self.connections and (self.cycle is None or self.cycle.response_complete)

    def _is_overdue(self, now: float) -> bool:
        """Whether the connection has been idle, or the head of its request incomplete, for too long."""
        patience = self._limits.read_timeout if self._has_begun_a_head else limits.KEEPALIVE_SECONDS
        return self._is_idle and now - self._waiting_since > patience

    def _shed(self) -> None:
        """Makes room for this connection by closing those that have been idle longest."""
        others = [other for other in self.connections if isinstance(other, EdgeProtocol) and other._is_idle]
        for other in sorted(others, key=lambda other: other._waiting_since)[:SHED]:
            other._metered.inner.abort()

    # Requests

    def data_received(self, data: bytes) -> None:
        if self._lingering:
            self._discarded += len(data)
            if self._discarded > limits.LINGER_BYTES:
                self._metered.finish()
            return
        if self._is_idle and not self._has_begun_a_head:
            self._has_begun_a_head, self._waiting_since = True, self.loop.time()
            self._first_line = data.partition(b"\r\n")[0]
        self._inbox.receive(data)

    def _take(self, data: bytes) -> None:
        """Gets a portion of what has come."""
        if self._socket is not None:
            self._socket.data_received(data)
        elif not self._lingering:
            super().data_received(data)

    def on_response_complete(self) -> None:
        self._has_begun_a_head, self._waiting_since = False, self.loop.time()
        self._first_line = b""  # the next request may have come already
        super().on_response_complete()

    def eof_received(self) -> bool:  # type: ignore[override]  # as asyncio.Protocol has it
        """Keeps the connection open as long as a request is being answered: the client may still be reading."""
        if self._socket is not None:
            return bool(self._socket.eof_received())
        if self._lingering or self._is_idle:
            return False
        self.cycle.keep_alive = False
        self._peer.is_body_broken = self.cycle.more_body
        self.cycle.message_event.set()
        if not self.cycle.response_started:
            self._peer.leave()
        else:
            for seconds in PROBES:
                self.loop.call_later(seconds, self._probe)
        return self._metered.inner.can_write_eof()  # with TLS nothing can be sent any more

    def _probe(self) -> None:
        """Writes what changes no stream, a leading zero of the next chunk's size: it fails if the client is gone."""
        if self._peer.is_chunked and not self._is_idle and not self._metered.is_closing():
            self._metered.write(b"0")

    def send_400_response(self, msg: str) -> None:
        """Answers what is not HTTP. In a body, the application answers instead."""
        error = sys.exc_info()[1]
        if not self._is_idle:
            self._peer.is_body_broken = True
            self.flow.pause_reading()
            self.cycle.message_event.set()
            return
        refusal = malformed(getattr(error, "error_status_hint", 400), error)
        refusal.path = b"".join(self._first_line.split(b" ", 2)[1:2]).decode("ascii", "replace")
        refusal.log()
        self.transport.write(refusal.as_bytes())
        self.transport.close()

    # The end

    def _close(self) -> None:
        """Closes the connection; first lets a client that is still sending read its answer."""
        still_sending = self.conn.their_state in (h11.SEND_BODY, h11.ERROR) and not self._peer.has_left
        if self._has_ended or self._socket is not None or not still_sending:
            self._metered.finish()
            return
        self._lingering = True
        self.flow.resume_reading()
        if self._metered.inner.can_write_eof():
            self._metered.inner.write_eof()
        self.loop.call_later(limits.LINGER_SECONDS, self._metered.finish)

    def _close_now(self) -> None:
        self._metered.finish()

    def shutdown(self) -> None:
        """Called when the server exits."""
        if self._lingering or self.conn.our_state is h11.ERROR:
            self._metered.finish()
        else:
            super().shutdown()
