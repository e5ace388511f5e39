"""What is read of a large body holds Python's lock for a moment only, so that the event loop answers probes meanwhile.

A call into C that takes 20 MiB at once keeps all other threads from running for up to 50 ms, and eight threads that
take turns keep the event loop waiting for all of them. So large inputs are read one at a time, in slices.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

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


def slices(stream: IO[bytes]) -> Iterator[bytes]:
    """What a stream has, in slices."""
    while part := stream.read(LARGE):
        yield part
