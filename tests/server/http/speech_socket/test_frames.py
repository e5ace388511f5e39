"""Frames that no client sends: each ends its own connection, and nothing else."""

from __future__ import annotations

import os
import socket
import struct

import pytest
import requests

from tests.helpers.server import Server

pytestmark = pytest.mark.processes

HANDSHAKE = (
    b"GET /v1/audio/speech/stream HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
MASK = b"\1\2\3\4"


def frame(first: int, payload: bytes, *, masked: bool = True) -> bytes:
    """One frame; `first` has its flags and its opcode."""
    length = len(payload)
    size = bytes([length]) if length < 126 else b"\x7e" + struct.pack("!H", length)
    head = bytes([first, size[0] | (0x80 if masked else 0)]) + size[1:]
    if not masked:
        return head + payload
    return head + MASK + bytes(byte ^ MASK[index % 4] for index, byte in enumerate(payload))


HOSTILE = {
    "not masked": frame(0x81, b"{}", masked=False),
    "reserved flags": frame(0xF1, b"{}"),
    "unknown opcode": frame(0x83, b"{}"),
    "a long ping": frame(0x89, b"x" * 126),
    "a ping in pieces": frame(0x09, b"x"),
    "a continuation of nothing": frame(0x80, b"{}"),
    "a text within a text": frame(0x01, b"{") + frame(0x81, b"}"),
    "no UTF-8": frame(0x81, b"\xff\xfe"),
    "a close of one byte": frame(0x88, b"\x03"),
    "a close with no code that there is": frame(0x88, b"\x00\x01"),
    "more than a message may have": b"\x81\xff" + struct.pack("!Q", 2**40) + MASK,
    "a negative length": b"\x81\xff" + b"\xff" * 8 + MASK,
    "noise": os.urandom(4096),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_frame_ends_its_connection(server: Server, name: str) -> None:
    """The server closes it, and serves on; nothing stays open."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(HANDSHAKE)
        assert connection.recv(12) == b"HTTP/1.1 101"
        connection.sendall(HOSTILE[name])
        connection.shutdown(socket.SHUT_WR)  # noise may be the beginning of a frame
        while connection.recv(65536):
            pass
    assert requests.post(server.url + "/tts", json={"text": "Hello."}, timeout=60).status_code == 200


def test_a_flood_of_pings_is_bounded(server: Server) -> None:
    """A client that reads no answer to them is cut; others are served meanwhile."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(HANDSHAKE)
        flood = frame(0x89, b"x" * 125) * 1_000_000
        with pytest.raises(OSError, match=r"reset|pipe"):
            connection.sendall(flood)
        assert [server.status(path) for path in ("/health", "/ready", "/metrics")] == [200, 200, 200]
