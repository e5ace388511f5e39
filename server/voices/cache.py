"""What the engine made of recordings, kept by content. Knows nothing about where recordings come from, nor what a
Voice holds beyond its size."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # glmtts.voice imports torch, which this package does without
    from glmtts.voice.voice import Voice

    Make = Callable[[bytes, str], Voice]


@dataclass(frozen=True)
class Usage:
    """How often a wanted voice was there and was not, so far; how many are kept, and their bytes."""

    hits: int
    misses: int
    voices: int
    bytes: int


class VoiceCache:
    """Prepared voices by content, the least recently used dropped first; bounded by number and by bytes.

    Two requests that bring the same recording at once share one preparation.
    """

    def __init__(self, *, items: int, size: int) -> None:
        self._items = items
        self._size = size
        self._lock = threading.Lock()
        self._held: OrderedDict[bytes, Future[Voice]] = OrderedDict()
        self._pinned: bytes | None = None
        self._hits = self._misses = 0

    def get(
        self, make: Callable[[bytes, str], Voice], recording: bytes, transcript: str, *, pin: bool = False
    ) -> Voice:
        """The voice of this recording; whatever `make` raises, which is not remembered.

        `pin` keeps it until another is pinned: the default voice, which no flood of uploads shall drive out.
        """
        key = hashlib.sha256(hashlib.sha256(recording).digest() + transcript.encode()).digest()
        with self._lock:
            if pin:
                self._pinned = key
            future = self._held.get(key)
            ours = future is None
            if future is None:
                self._misses += 1
                future = self._held[key] = Future()
            else:
                self._hits += 1
            self._held.move_to_end(key)
        if ours:
            self._prepare(key, future, lambda: make(recording, transcript))
        return future.result()

    def usage(self) -> Usage:
        """How the cache does."""
        with self._lock:
            held = [future.result() for future in self._held.values() if future.done()]
            return Usage(self._hits, self._misses, len(held), sum(map(nbytes, held)))

    def _prepare(self, key: bytes, future: Future[Voice], make: Callable[[], Voice]) -> None:
        try:
            future.set_result(make())
        except BaseException as error:
            with self._lock:
                self._held.pop(key, None)
            future.set_exception(error)
            return
        with self._lock:
            self._shrink()

    def _shrink(self) -> None:
        done = [key for key, future in self._held.items() if future.done()]
        total = sum(nbytes(self._held[key].result()) for key in done)
        # The newest stays even if it alone is too large: it is about to be used.
        for key in done[:-1]:
            if len(self._held) <= self._items and total <= self._size:
                return
            if key != self._pinned:
                total -= nbytes(self._held.pop(key).result())


def nbytes(value: Any) -> int:
    """Memory of the arrays in a dataclass, a mapping or a bare array, in bytes."""
    if hasattr(value, "nbytes"):
        return int(value.nbytes)
    if isinstance(value, Mapping):
        return sum(nbytes(item) for item in value.values())
    if hasattr(value, "__dataclass_fields__"):
        return sum(nbytes(getattr(value, field.name)) for field in fields(value))
    return 8 * len(value) if isinstance(value, tuple) else 0
