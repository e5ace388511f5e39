"""The continuation token, with which any node can go on where another one stopped.

A token is base64url of: format, checkpoint tag, MAC, the number of segments spoken so far, and, for those that still
prompt the next one, their text ids and speech tokens: about 50 bytes per second of speech. Every node with the same
checkpoint accepts it. The MAC's key is derived from the checkpoint's name and version, which are no secret: it detects
damage and mix-ups, not forgery, so the engine checks the ids that it is given.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NoReturn

from glmtts.engine.api import EngineInfo
from glmtts.models.llm.history import SpokenSegment
from server.errors import ApiError, invalid_field

FORMAT = b"\x01"
"""The first byte. A token with a greater one is of a newer server, and has a layout that this one does not know."""
TAG_BYTES, MAC_BYTES = 6, 16
MAX_TOKEN_CHARS = 65536
"""Maximum length of a token; the longest history needs a tenth of that."""


@dataclass(frozen=True)
class Continuation:
    """Where a request goes on: after `segments` segments, of which the last ones, oldest first, are the `history`."""

    segments: int = 0
    history: tuple[SpokenSegment, ...] = ()


def encode(continuation: Continuation, info: EngineInfo) -> str:
    """The token, valid on nodes that loaded the checkpoint of `info`."""
    key, tag = _key(info)
    lists = [ids for segment in continuation.history for ids in segment]
    body = _number(continuation.segments) + b"".join(map(_pack, lists))
    mac = hmac.digest(key, body, "sha256")[:MAC_BYTES]
    return base64.urlsafe_b64encode(FORMAT + tag + mac + body).decode().rstrip("=")


def decode(token: str, info: EngineInfo) -> Continuation:
    """The inverse of `encode`. ApiError 400 if the token is damaged, of a newer server or of another checkpoint."""
    try:
        data = base64.b64decode(token + "=" * (-len(token) % 4), altchars="-_", validate=True)
    except (binascii.Error, ValueError):
        _reject("something else")
    key, tag = _key(info)
    head = len(FORMAT) + TAG_BYTES + MAC_BYTES
    if data[: len(FORMAT)] > FORMAT:
        message = f"continuation: expected a token of format {FORMAT[0]} or less, got one of format {data[0]}"
        raise ApiError(400, "unsupported_version", message, field="continuation")
    if len(data) <= head or not data.startswith(FORMAT):
        _reject("something else")
    if data[len(FORMAT) : len(FORMAT) + TAG_BYTES] != tag:
        expected = f"a token for {info.model} {info.model_version}, which this node runs"
        raise invalid_field("continuation", expected, "a token of another checkpoint")
    body = data[head:]
    if not hmac.compare_digest(hmac.digest(key, body, "sha256")[:MAC_BYTES], data[len(FORMAT) + TAG_BYTES : head]):
        _reject("a damaged token")
    try:
        return _unpack(body)
    except (IndexError, ValueError):  # only a forged token gets here
        _reject("a damaged token")


def _key(info: EngineInfo) -> tuple[bytes, bytes]:
    """The MAC's key, and the tag that identifies the checkpoint."""
    key = hashlib.sha256(f"glmtts continuation\0{info.model}\0{info.model_version}".encode()).digest()
    return key, hashlib.sha256(key).digest()[:TAG_BYTES]


def _reject(got: str) -> NoReturn:
    raise invalid_field("continuation", "a token from an earlier response, unchanged", got) from None


# A number is a varint: seven bits per byte, low ones first. A list is its length, the width of an id in bytes, its ids.
def _number(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _pack(ids: Sequence[int]) -> bytes:
    width = (max(ids, default=0).bit_length() + 7) // 8 or 1
    return _number(len(ids)) + bytes([width]) + b"".join(number.to_bytes(width, "little") for number in ids)


def _unpack(body: bytes) -> Continuation:
    segments, offset = _read_number(body, 0)
    lists = list(_read_lists(body, offset))
    if len(lists) % 2 or segments >= 2**31:
        raise ValueError
    return Continuation(segments, tuple(map(SpokenSegment, lists[::2], lists[1::2])))


def _read_lists(body: bytes, offset: int) -> Iterator[tuple[int, ...]]:
    while offset < len(body):
        count, offset = _read_number(body, offset)
        width, start = body[offset], offset + 1
        offset = start + count * width
        if not 1 <= width <= 4 or offset > len(body):
            raise ValueError
        yield tuple(int.from_bytes(body[i : i + width], "little") for i in range(start, offset, width))


def _read_number(body: bytes, offset: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = body[offset]
        value |= (byte & 0x7F) << shift
        offset, shift = offset + 1, shift + 7
        if byte < 0x80:
            return value, offset
