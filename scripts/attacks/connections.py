"""Connections that hold what they can: idle ones, slow ones, and some that never read."""

from __future__ import annotations

import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

from scripts.attacks.senders import Outcomes
from scripts.attacks.target import Target

DRIP_SECONDS = 1.0
END_SECONDS = 0.2
"""Silence after which a connection is one that the server keeps."""
LOOKERS = 32
"""How many connections are looked at at once."""
BUFFERED_BYTES = 2**20
"""More than the kernel buffers on both sides."""


def attack_idle(target: Target, count: int, seconds: float) -> Outcomes:
    """Opens connections that send nothing. Counts those that the server has closed at the end."""
    with ExitStack() as stack:
        connections = [stack.enter_context(target.connect()) for _ in range(count)]
        time.sleep(seconds)
        return _ends(connections)


def attack_slow(target: Target, count: int, seconds: float) -> Outcomes:
    """A third each: heads, bodies, and refused bodies, which arrive by a byte a second."""
    head = b"POST /tts HTTP/1.1\r\n" + target.head + b"Content-Type: application/json\r\n"
    starts = (
        b"GET /voices HTTP/1.1\r\nX: ",
        head + b'Content-Length: 5000\r\n\r\n{"text": "',
        b"POST /tts HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n",  # no key: 401
    )
    with ExitStack() as stack:
        connections = [stack.enter_context(target.connect()) for _ in range(count)]
        for number, connection in enumerate(connections):
            connection.sendall(starts[number % len(starts)])
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for connection in connections:
                with suppress(OSError):
                    connection.send(b"a")
            time.sleep(DRIP_SECONDS)
        return _ends(connections)


def attack_unread(target: Target, count: int, seconds: float) -> Outcomes:
    """Asks for metrics and for long streams, again and again on one connection, and never reads."""
    body = b'{"text": "%s", "format": "pcm", "sample_rate": 48000}' % (b"Hello there. " * 300)
    stream = b"POST /tts/stream HTTP/1.1\r\n" + target.head + b"Content-Type: application/json\r\n"
    stream += b"Content-Length: %d\r\n\r\n" % len(body) + body
    metrics = b"GET /metrics HTTP/1.1\r\n" + target.head + b"\r\n"
    with ExitStack() as stack:
        connections = []
        for number in range(count):
            connection = stack.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", target.port))
            connection.settimeout(1.0)
            with suppress(OSError):
                connection.sendall(stream if number % 2 else metrics * 60)
            connections.append(connection)
        time.sleep(seconds)
        return _ends(connections)


def _ends(connections: list[socket.socket]) -> Outcomes:
    with ThreadPoolExecutor(LOOKERS) as pool:
        return Counter("closed" if closed else "open" for closed in pool.map(_is_closed, connections))


def _is_closed(connection: socket.socket) -> bool:
    """Whether the server has closed it: whether it ends once what is still in buffers has been read."""
    connection.settimeout(END_SECONDS)
    received = 0
    try:
        while received < BUFFERED_BYTES:
            if not (data := connection.recv(65536)):
                return True
            received += len(data)
    except TimeoutError:
        return False
    except OSError:
        return True
    return False
