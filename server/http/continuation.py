"""The token that lets any node go on where another one stopped: what was spoken, packed, bound to the checkpoint.

A token is base64url of: format, checkpoint tag, MAC, then how many segments were spoken and, for those that still
prompt the next one, their text ids and speech tokens: about 50 bytes a second of speech. Every node with the same
checkpoint takes it. The MAC's key comes from the checkpoint's name and version, which are no secret: it finds damage
and mix-ups, not forgers, so the engine checks the ids that it is given.
Knows nothing about requests, engines or how ids become sound.
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
from server.errors import ApiError

FORMAT = b"\x01"
TAG, MAC = 6, 16
LONGEST = 65536
"""Characters of a token; the longest history is a tenth of that."""


@dataclass(frozen=True)
class Continuation:
    """Where a request goes on: `segments` were spoken, the last of which, oldest first, are `spoken`."""

    segments: int = 0
    spoken: tuple[SpokenSegment, ...] = ()


def write(continuation: Continuation, info: EngineInfo) -> str:
    """The token, for nodes that loaded what `info` names."""
    key, tag = _key(info)
    lists = [ids for segment in continuation.spoken for ids in segment]
    body = _number(continuation.segments) + b"".join(map(_packed, lists))
    mac = hmac.digest(key, body, "sha256")[:MAC]
    return base64.urlsafe_b64encode(FORMAT + tag + mac + body).decode().rstrip("=")


def read(token: str, info: EngineInfo) -> Continuation:
    """What `write` was given; ApiError 400 for a token of another checkpoint, or one that is damaged."""
    try:
        data = base64.b64decode(token + "=" * (-len(token) % 4), altchars="-_", validate=True)
    except (binascii.Error, ValueError):
        _refuse("no token", "one that an earlier answer gave, unchanged")
    key, tag = _key(info)
    head = len(FORMAT) + TAG + MAC
    if len(data) <= head or not data.startswith(FORMAT):
        _refuse("no token of this server's", "one that an earlier answer gave, unchanged")
    if data[len(FORMAT) : len(FORMAT) + TAG] != tag:
        _refuse("a token of another checkpoint", f"one of {info.model} {info.model_version}, which this node speaks")
    body = data[head:]
    if not hmac.compare_digest(hmac.digest(key, body, "sha256")[:MAC], data[len(FORMAT) + TAG : head]):
        _refuse("a damaged token", "one that an earlier answer gave, unchanged")
    try:
        return _unpacked(body)
    except (IndexError, ValueError):  # only a forger gets here
        _refuse("a damaged token", "one that an earlier answer gave, unchanged")


def _key(info: EngineInfo) -> tuple[bytes, bytes]:
    """The MAC's key, and the tag that names the checkpoint."""
    key = hashlib.sha256(f"glmtts continuation\0{info.model}\0{info.model_version}".encode()).digest()
    return key, hashlib.sha256(key).digest()[:TAG]


def _refuse(came: str, want: str) -> NoReturn:
    raise ApiError(400, "invalid_field", f"continuation: came {came}; want {want}", field="continuation") from None


# A number is a varint (seven bits a byte, low ones first); a list is its length, the bytes of its largest id, its ids.
def _number(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _packed(ids: Sequence[int]) -> bytes:
    width = (max(ids, default=0).bit_length() + 7) // 8 or 1
    return _number(len(ids)) + bytes([width]) + b"".join(number.to_bytes(width, "little") for number in ids)


def _unpacked(body: bytes) -> Continuation:
    segments, place = _read_number(body, 0)
    lists = list(_lists(body, place))
    if len(lists) % 2 or segments >= 2**31:
        raise ValueError
    return Continuation(segments, tuple(map(SpokenSegment, lists[::2], lists[1::2])))


def _lists(body: bytes, place: int) -> Iterator[tuple[int, ...]]:
    while place < len(body):
        count, place = _read_number(body, place)
        width, start = body[place], place + 1
        place = start + count * width
        if not 1 <= width <= 4 or place > len(body):
            raise ValueError
        yield tuple(int.from_bytes(body[i : i + width], "little") for i in range(start, place, width))


def _read_number(body: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = body[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place
