"""A cache of prepared voices: what the engine made of a reference recording and its text."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from glmtts.voice.digest import voice_digest
from server.worker_pool import MAX_WAITING, WorkerPool

if TYPE_CHECKING:  # glmtts.voice imports torch, and server imports must not
    from glmtts.voice.voice import Voice


@dataclass(frozen=True)
class CacheStats:
    """Hits and misses since the start; the number of cached voices and their size in bytes."""

    hits: int
    misses: int
    voices: int
    bytes: int


class VoiceCache:
    """An LRU cache of prepared voices, keyed by content and bounded by number and by bytes. Thread-safe.

    Concurrent requests with the same recording share one preparation, which a thread of `workers` makes.
    """

    def __init__(self, workers: WorkerPool, *, max_items: int, max_bytes: int) -> None:
        self._workers = workers
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, Future[Voice]] = OrderedDict()
        self._pinned: str | None = None
        self._hits = self._misses = 0

    def get(
        self,
        make: Callable[[bytes, str], Voice],
        reference_audio: bytes,
        reference_text: str,
        *,
        language: str | None = None,
        pin: bool = False,
    ) -> Voice:
        """The voice of this recording and text. Raises what `make` raises, and caches no failure.

        ApiError 429 if too many recordings wait to be prepared.

        `language`: in which `make` reads the text; None: that of its characters.
        `pin` keeps the voice until another one is pinned: uploads must not evict the default voice.
        """
        key = voice_digest(reference_audio, reference_text, language)
        with self._lock:
            if pin:
                self._pinned = key
            future = self._entries.get(key)
            is_new = future is None
            if future is None:
                self._misses += 1
                future = self._entries[key] = Future()
            else:
                self._hits += 1
            self._entries.move_to_end(key)
        if is_new:
            self._prepare(key, future, lambda: make(reference_audio, reference_text))
        return future.result()

    def has(self, reference_audio: bytes, reference_text: str, language: str | None = None) -> bool:
        """Whether the voice of this recording and text is prepared, or being prepared."""
        with self._lock:
            return voice_digest(reference_audio, reference_text, language) in self._entries

    def has_room(self) -> bool:
        """Whether one more voice evicts no other, if it is no larger than those that are cached."""
        stats = self.stats()
        return (stats.voices + 1) <= self._max_items and stats.bytes * (1 + 1 / max(1, stats.voices)) <= self._max_bytes

    def stats(self) -> CacheStats:
        with self._lock:
            voices = [future.result() for future in self._entries.values() if future.done()]
            return CacheStats(self._hits, self._misses, len(voices), sum(map(nbytes, voices)))

    def _prepare(self, key: str, future: Future[Voice], make: Callable[[], Voice]) -> None:
        try:
            future.set_result(self._workers.run(make, max_waiting=MAX_WAITING))
        except BaseException as error:
            with self._lock:
                self._entries.pop(key, None)
            future.set_exception(error)
            return
        with self._lock:
            self._evict()

    def _evict(self) -> None:
        done = [key for key, future in self._entries.items() if future.done()]
        total = sum(nbytes(self._entries[key].result()) for key in done)
        # The newest stays even if it is too large by itself: it is about to be used.
        for key in done[:-1]:
            if len(self._entries) <= self._max_items and total <= self._max_bytes:
                return
            if key != self._pinned:
                total -= nbytes(self._entries.pop(key).result())


def nbytes(value: Any) -> int:
    """Size in bytes of the arrays in a dataclass, a mapping or a bare array; a tuple counts 8 per item."""
    if hasattr(value, "nbytes"):
        return int(value.nbytes)
    if isinstance(value, Mapping):
        return sum(nbytes(item) for item in value.values())
    if hasattr(value, "__dataclass_fields__"):
        return sum(nbytes(getattr(value, field.name)) for field in fields(value))
    return 8 * len(value) if isinstance(value, tuple) else 0
