"""Hostile frames on the WebSocket of /v1/audio/speech/stream: what RFC 6455 forbids, and messages that are none."""

from __future__ import annotations

import json
import random
import struct
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from socket import socket

from scripts.attacks.bodies import TOKENS
from scripts.attacks.senders import CLIENTS, Outcomes
from scripts.attacks.target import Target

TEXT, BINARY, CLOSE, PING, CONTINUATION = 1, 2, 8, 9, 0
MESSAGES = (
    *({"type": "session.config", "voice": "none"}, {"type": "input.text", "text": 5}, {"type": "input.text"}),
    *({"type": "x" * 1000}, {"type": None}, {"type": "session.config", "response_format": "exe"}, {}),
    {"type": "session.config", "reference_audio": "UklGRg=="},
)
SECONDS = 3.0
"""How long an answer may take."""


def frame(opcode: int, payload: bytes, *, first: int = 0x80, mask: bool = True, length: int | None = None) -> bytes:
    """A frame; `first` has the bits FIN and RSV, `length` may be a lie."""
    size = len(payload) if length is None else length
    long = b"\x7e" + struct.pack(">H", size) if size < 2**16 else b"\x7f" + struct.pack(">Q", size)
    short = bytes([size]) if size < 126 else long
    if not mask:
        return bytes([first | opcode]) + short + payload
    key = b"\x11\x22\x33\x44"
    masked = bytes(byte ^ key[index % 4] for index, byte in enumerate(payload))
    return bytes([first | opcode, short[0] | 0x80]) + short[1:] + key + masked


def hostile(rng: random.Random) -> bytes:
    """Frames of one connection."""
    message = json.dumps(rng.choice(MESSAGES)).encode()
    return rng.choice(
        (
            frame(TEXT, message),
            frame(TEXT, b'{"type": "input.text", "text": ' + rng.choice(TOKENS) + b"}"),
            frame(TEXT, rng.choice(TOKENS)),
            frame(TEXT, b"\xff\xfe\xfd"),
            frame(BINARY, rng.randbytes(200)),
            frame(TEXT, message, mask=False),
            frame(TEXT, message, first=0x80 | rng.choice((0x10, 0x20, 0x40))),
            frame(rng.choice((3, 7, 11, 15)), message),
            frame(CONTINUATION, message),
            frame(TEXT, b"a", first=0) * 50 + frame(TEXT, b"b"),
            frame(TEXT, b"a", first=0) + frame(CONTINUATION, b"", first=0) * 5000,
            frame(PING, b"p" * 126) + frame(PING, b"", first=0),
            frame(PING, b"p" * 100) * 2000,
            frame(CLOSE, b"\x00"),
            frame(CLOSE, struct.pack(">H", rng.choice((0, 999, 1005, 5000))) + b"\xff"),
            frame(TEXT, b"", length=2**63),
            frame(TEXT, b"", length=2**31),
            frame(TEXT, b"a" * 2**20) * 9,
            rng.randbytes(300),
        )
    )


def attack(target: Target, count: int, seed: int = 1) -> Outcomes:
    """Sends to `count` connections. Counts the codes with which the server closes them; open ones it waits on."""
    rng = random.Random(seed)

    def send(data: bytes) -> str:
        handshake = b"GET /v1/audio/speech/stream HTTP/1.1\r\n" + target.head
        handshake += b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        handshake += b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        with target.connect(timeout=SECONDS) as connection:
            with suppress(OSError):
                connection.sendall(handshake)
                head = b""
                while b"\r\n\r\n" not in head:
                    head += connection.recv(1)
                if b" 101 " not in head:
                    return head[9:12].decode()
                connection.sendall(data)
            return _outcome(connection)

    with ThreadPoolExecutor(CLIENTS) as pool:
        return Counter(pool.map(send, (hostile(rng) for _ in range(count))))


def _outcome(connection: socket) -> str:
    """The code of the server's closing frame; "closed" without one; "open" if it goes on serving."""
    data = b""
    while True:
        while (size := _size(data)) is not None:
            if data[0] & 15 == CLOSE:
                return str(struct.unpack(">H", data[2:4])[0]) if size >= 4 else "closed"
            data = data[size:]
        try:
            piece = connection.recv(65536)
        except TimeoutError:
            return "open"
        except OSError:
            return "closed"
        if not piece:
            return "closed"
        data += piece


def _size(data: bytes) -> int | None:
    """The size of the first of the server's frames; None if it is not all there."""
    if len(data) < 2:
        return None
    length, head = data[1], 2
    if length == 126:
        length, head = int.from_bytes(data[2:4], "big"), 4
    elif length == 127:
        length, head = int.from_bytes(data[2:10], "big"), 10
    return head + length if len(data) >= head + length else None
