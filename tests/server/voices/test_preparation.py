"""Stored voices are prepared before anybody asks for them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from glmtts.engine.api import Job
from glmtts.engine.runtime.fake import FakeEngine, FakeOptions
from server.voices.cache import VoiceCache
from server.voices.preparation import prepare_stored_voices
from server.voices.store import VoiceStore
from server.worker_pool import WorkerPool
from tests.helpers.server import recording, store_voice, wait_until


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    engine = FakeEngine(FakeOptions(delay=0.05))
    yield engine
    engine.close()


@pytest.fixture
def voices(tmp_path: Path) -> VoiceStore:
    """Two voices, one with two styles, and between them one whose recording is damaged."""
    store_voice(tmp_path, "anna", {"neutral": "Hello.", "calm": "Good evening."})
    store_voice(tmp_path, "bert", {"neutral": "Hello there."})
    (tmp_path / "bert" / "neutral.flac").write_bytes(b"damaged")
    store_voice(tmp_path, "carl", {"neutral": "Good morning."})
    return VoiceStore([tmp_path])


def cache(items: int) -> VoiceCache:
    return VoiceCache(WorkerPool("voices", 1), max_items=items, max_bytes=2**20)


def prepared(voices: VoiceStore, cache: VoiceCache) -> set[tuple[str, str]]:
    found = {(voice.name, style) for voice in voices.all() for style in voice.transcripts}
    return {(name, style) for name, style in found if cache.has(*voices.reference(name, style)[:2])}


def test_all_styles_are_prepared(engine: FakeEngine, voices: VoiceStore) -> None:
    """But for one that is damaged; a second time nothing is looked up."""
    full = cache(8)
    prepare_stored_voices(engine, voices, full)
    assert prepared(voices, full) == {("anna", "neutral"), ("anna", "calm"), ("carl", "neutral")}
    before = full.stats()
    prepare_stored_voices(engine, voices, full)
    assert full.stats().hits == before.hits


def test_none_is_evicted(engine: FakeEngine, voices: VoiceStore) -> None:
    """A full cache ends it."""
    small = cache(2)
    prepare_stored_voices(engine, voices, small)
    assert prepared(voices, small) == {("anna", "neutral"), ("anna", "calm")}


def test_speech_goes_first(engine: FakeEngine, voices: VoiceStore) -> None:
    """Nothing is prepared while a job runs."""
    job = Job(tuple(engine.segments("a" * 3000)), engine.make_voice(recording(), ""), 24000, 1)
    handle, full = engine.submit(job), cache(8)
    next(handle.chunks())
    thread = threading.Thread(target=prepare_stored_voices, args=(engine, voices, full))
    thread.start()
    thread.join(1.0)
    assert full.stats().misses == 0
    handle.cancel()
    thread.join(30)
    assert full.stats().voices == 3
    wait_until(lambda: engine.num_running() == 0, "the job to end")
