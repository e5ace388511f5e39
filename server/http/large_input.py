"""What is read of a large body holds Python's lock for a moment only, so that the event loop answers probes meanwhile.

A call into C that takes 20 MiB at once keeps all other threads from running for up to 50 ms, and eight threads that
take turns keep the event loop waiting for all of them. So large inputs are read one at a time, in slices.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager

LARGE = 2**16
"""Bytes or characters from which on an input is large; also the length of a slice."""
_turn = threading.Lock()


@contextmanager
def turn(size: int) -> Iterator[None]:
    """For the block in which an input of that size is read: waits while another thread reads a large one."""
    if size <= LARGE:
        yield
        return
    with _turn:
        yield


def has_more(data: bytes, signs: bytes, limit: int) -> bool:
    """Whether more than `limit` bytes of `data` are among `signs`."""
    number = 0
    for start in range(0, len(data), LARGE):
        part = data[start : start + LARGE]
        number += len(part) - len(part.translate(None, signs))
        if number > limit:
            return True
    return False


def decode_base64(text: str) -> bytes:
    """The bytes of base64, which may have white space in it. ValueError: it is none."""
    decoded, rest = bytearray(), ""
    with turn(len(text)):
        for start in range(0, len(text), LARGE):
            rest += "".join(text[start : start + LARGE].split())
            whole = (len(rest) - 1) // 4 * 4  # leaves the last group, which alone may be padded
            if "=" in rest[:whole]:
                raise ValueError("Excess data after padding")
            decoded += base64.b64decode(rest[:whole], validate=True)
            rest = rest[whole:]
        return bytes(decoded + base64.b64decode(rest, validate=True))
