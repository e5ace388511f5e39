"""The cache of prepared voices."""

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from glmtts.errors import AudioError
from server.voices.cache import VoiceCache, nbytes
from server.worker_pool import WorkerPool


@dataclass
class Prepared:
    """Stands for a Voice: it has an array."""

    wave: np.ndarray[Any, Any]


class Maker:
    def __init__(self) -> None:
        self.calls: list[bytes] = []

    def __call__(self, recording: bytes, transcript: str) -> Any:
        self.calls.append(recording)
        if recording == b"bad":
            raise AudioError("bad")
        return Prepared(np.zeros(100, np.uint8))


def test_the_same_recording_is_prepared_once() -> None:
    """The key is the recording and the text."""
    maker = Maker()
    cache = VoiceCache(WorkerPool("voices", 4), max_items=8, max_bytes=1000)
    assert cache.get(maker, b"a", "") is cache.get(maker, b"a", "")
    assert cache.get(maker, b"a", "") is not cache.get(maker, b"a", "x")
    assert maker.calls == [b"a", b"a"]


@pytest.mark.parametrize(("items", "size"), [(2, 1000), (8, 200)])
def test_the_least_recently_used_voice_is_evicted(items: int, size: int) -> None:
    """Bounded by number and by bytes."""
    maker = Maker()
    cache = VoiceCache(WorkerPool("voices", 4), max_items=items, max_bytes=size)
    for name in (b"a", b"b", b"a", b"c", b"a", b"b"):
        cache.get(maker, name, "")
    assert maker.calls == [b"a", b"b", b"c", b"b"]


def test_the_pinned_voice_stays() -> None:
    """Other voices do not evict it, until another one is pinned in its place."""
    maker = Maker()
    cache = VoiceCache(WorkerPool("voices", 4), max_items=2, max_bytes=1000)
    cache.get(maker, b"p", "", pin=True)
    for name in (b"a", b"b", b"c", b"p"):
        cache.get(maker, name, "")
    assert maker.calls == [b"p", b"a", b"b", b"c"]
    cache.get(maker, b"q", "", pin=True)
    for name in (b"a", b"b", b"p"):
        cache.get(maker, name, "")
    assert maker.calls[4:] == [b"q", b"a", b"b", b"p"]


def test_failures_are_not_cached() -> None:
    """Each attempt with a bad recording fails anew."""
    maker = Maker()
    cache = VoiceCache(WorkerPool("voices", 4), max_items=8, max_bytes=1000)
    for _ in range(2):
        with pytest.raises(AudioError):
            cache.get(maker, b"bad", "")
    assert maker.calls == [b"bad", b"bad"]


def test_concurrent_requests_share_one_preparation() -> None:
    """The second waits for the result of the first."""
    entered, go_on = threading.Event(), threading.Event()
    calls: list[bytes] = []

    def slow(recording: bytes, transcript: str) -> Any:
        calls.append(recording)
        entered.set()
        assert go_on.wait(30)
        return Prepared(np.zeros(1))

    cache = VoiceCache(WorkerPool("voices", 4), max_items=8, max_bytes=1000)
    results: list[Any] = []
    first = threading.Thread(target=lambda: results.append(cache.get(slow, b"a", "")))
    first.start()
    assert entered.wait(30)
    second = threading.Thread(target=lambda: results.append(cache.get(slow, b"a", "")))
    second.start()
    go_on.set()
    first.join()
    second.join()
    assert calls == [b"a"]
    assert results[0] is results[1]


def test_the_size_of_a_voice_is_that_of_its_arrays() -> None:
    """Arrays count, nested ones too."""
    assert nbytes({24000: Prepared(np.zeros(10, np.float32)), 32000: (1, 2)}) == 56
