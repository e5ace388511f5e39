"""Stored voices, and the cache of prepared ones."""

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glmtts.errors import AudioError, UnsupportedError
from server.errors import ApiError
from server.voices import VoiceCache, VoiceStore, nbytes
from tests.helpers.server import store_voice


def test_a_voice_is_found_by_name_and_style(tmp_path: Path) -> None:
    """A style picks the recording and its transcript; without one the default style does."""
    store_voice(tmp_path, "anna", {"neutral": "One.", "happy": "Two!"})
    voice = VoiceStore(tmp_path).get("anna")
    assert voice.recording("happy") == ((tmp_path / "anna" / "happy.flac").read_bytes(), "Two!", "happy")
    assert voice.recording(None)[2] == "neutral"


def test_an_explicit_style_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """The refusal names the styles that the voice has."""
    store_voice(tmp_path, "anna", {"neutral": "One.", "happy": "Two!"})
    with pytest.raises(UnsupportedError, match="happy, neutral"):
        VoiceStore(tmp_path).get("anna").recording("sad")


def test_a_default_style_without_recording_falls_back_to_the_first(tmp_path: Path) -> None:
    """A lost default recording does not silence the voice."""
    store_voice(tmp_path, "anna", {"neutral": "One.", "happy": "Two!"})
    (tmp_path / "anna" / "neutral.flac").unlink()
    assert VoiceStore(tmp_path).get("anna").recording(None)[2] == "happy"


def test_an_unknown_voice_is_a_404_that_names_those_there_are(tmp_path: Path) -> None:
    """A damaged description counts as no voice."""
    store_voice(tmp_path, "anna", {"neutral": "One."})
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "voice.json").write_text("{")
    with pytest.raises(ApiError, match="stored are: anna") as caught:
        VoiceStore(tmp_path).get("broken")
    assert caught.value.status == 404


@dataclass
class Prepared:
    """Stands for a Voice: something with an array in it."""

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
    """Content and transcript together are the key."""
    maker = Maker()
    cache = VoiceCache(maker, items=8, size=1000)
    assert cache.get(b"a", "") is cache.get(b"a", "")
    assert cache.get(b"a", "") is not cache.get(b"a", "x")
    assert maker.calls == [b"a", b"a"]


@pytest.mark.parametrize(("items", "size"), [(2, 1000), (8, 200)])
def test_the_least_recently_used_goes_first(items: int, size: int) -> None:
    """Bounded by number and by bytes alike."""
    maker = Maker()
    cache = VoiceCache(maker, items=items, size=size)
    for name in (b"a", b"b", b"a", b"c", b"a", b"b"):
        cache.get(name, "")
    assert maker.calls == [b"a", b"b", b"c", b"b"]


def test_a_failure_is_not_remembered() -> None:
    """Each try of a bad recording is told anew."""
    maker = Maker()
    cache = VoiceCache(maker, items=8, size=1000)
    for _ in range(2):
        with pytest.raises(AudioError):
            cache.get(b"bad", "")
    assert maker.calls == [b"bad", b"bad"]


def test_two_requests_at_once_share_one_preparation() -> None:
    """The second waits for the first one's result instead of doing the work again."""
    entered, go_on = threading.Event(), threading.Event()
    calls: list[bytes] = []

    def slow(recording: bytes, transcript: str) -> Any:
        calls.append(recording)
        entered.set()
        assert go_on.wait(30)
        return Prepared(np.zeros(1))

    cache = VoiceCache(slow, items=8, size=1000)
    results: list[Any] = []
    first = threading.Thread(target=lambda: results.append(cache.get(b"a", "")))
    first.start()
    assert entered.wait(30)
    second = threading.Thread(target=lambda: results.append(cache.get(b"a", "")))
    second.start()
    go_on.set()
    first.join()
    second.join()
    assert calls == [b"a"]
    assert results[0] is results[1]


def test_the_size_of_a_voice_is_that_of_its_arrays() -> None:
    """Arrays count, nested ones too."""
    assert nbytes({24000: Prepared(np.zeros(10, np.float32)), 32000: (1, 2)}) == 56
