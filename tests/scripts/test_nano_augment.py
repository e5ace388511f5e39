"""Augmented copies of utterances: how they sound, and which training sets they are in."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from scripts.nano.augment import BANDWIDTHS, ROOM_SPEEDS, RoomSimulation, change_speed, evenly_spaced, write_voice
from scripts.nano.data import RATE, Corpus, Utterance, pools_of, weigh


def tone(hertz: float, seconds: float) -> np.ndarray:
    """A sine at half of full scale."""
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


def spoken(work: Path, voice: str, count: int) -> None:
    """A voice of `count` utterances of one second."""
    (work / "corpus").mkdir(exist_ok=True)
    sound = np.round(tone(200, count) * 32767).astype("<i2")
    sound.tofile(work / "corpus" / f"{voice}-0.pcm")
    rows = [
        {"index": i, "lang": "en", "text": f"t{i}", "ph": "a b", "start": i * RATE, "samples": RATE}
        for i in range(count)
    ]
    (work / "corpus" / f"{voice}-0.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


@pytest.mark.parametrize("speed", [0.89, 1.12])
def test_a_copy_is_as_much_higher_as_it_is_shorter(speed: float) -> None:
    played = change_speed(tone(200, 2.0), speed)
    assert len(played) == pytest.approx(2 * RATE / speed, abs=2)
    spectrum = np.abs(np.fft.rfft(played * np.hanning(len(played))))
    assert spectrum.argmax() * RATE / len(played) == pytest.approx(200 * speed, abs=1.0)
    assert np.abs(played).max() == pytest.approx(0.5, abs=1e-3)


def test_all_copies_are_trained_on_and_no_held_out_utterance_is_copied(tmp_path: Path) -> None:
    spoken(tmp_path, "anna", 100)
    rows = evenly_spaced(Corpus(tmp_path).train(), 1000.0)
    write_voice(tmp_path / "corpus" / "anna@1.12-0", rows, partial(change_speed, speed=1.12))
    corpus = Corpus(tmp_path)
    held_out = {u.text for u in corpus.test()}
    copies = [u for u in corpus.train() if u.voice == "anna@1.12"]
    assert {u.voice for u in corpus.test()} == {"anna"}
    assert len(held_out) == 2
    assert len(copies) == 98
    assert not held_out & {u.text for u in copies}
    np.testing.assert_allclose(copies[3].wave(), change_speed(tone(200, 1.0), 1.12), atol=2e-3)


def test_a_room_removes_the_treble_and_keeps_the_tone() -> None:
    """Equal seeds give equal rooms; a bandwidth of 4 kHz leaves next to nothing above it, and the tone dominates."""
    seed = next(s for s in range(100) if RoomSimulation(s).bandwidth == BANDWIDTHS[0])
    sounds = RoomSimulation(seed)(tone(200, 2.0))
    np.testing.assert_array_equal(sounds, RoomSimulation(seed)(tone(200, 2.0)))
    assert np.abs(sounds).max() == pytest.approx(0.5, abs=1e-3)
    power = np.abs(np.fft.rfft(sounds * np.hanning(len(sounds)))) ** 2
    hertz = np.fft.rfftfreq(len(sounds), 1 / RATE)
    assert power[hertz > 1.3 * BANDWIDTHS[0]].sum() < 1e-6 * power.sum()
    assert 200 * ROOM_SPEEDS[0] - 1 < hertz[power.argmax()] < 200 * ROOM_SPEEDS[1] + 1


def test_rooms_are_trained_on_only_on_request(tmp_path: Path) -> None:
    spoken(tmp_path, "anna", 10)
    write_voice(tmp_path / "corpus" / "anna@room-0", Corpus(tmp_path).train(), RoomSimulation(0))
    corpus = Corpus(tmp_path)
    assert {u.voice for u in corpus.train()} == {"anna"}
    assert {u.voice for u in corpus.train(rooms=True)} == {"anna", "anna@room"}


def test_the_selection_is_spread_over_all(tmp_path: Path) -> None:
    spoken(tmp_path, "anna", 100)
    every: list[Utterance] = Corpus(tmp_path).utterances
    assert [u.text for u in evenly_spaced(every, 25.0)] == [f"t{4 * i}" for i in range(25)]
    assert evenly_spaced(every, 1000.0) == every


def test_a_copy_has_half_the_weight(tmp_path: Path) -> None:
    spoken(tmp_path, "anna", 60)
    spoken(tmp_path, "anna@1.12", 60)
    pools = pools_of(Corpus(tmp_path).utterances)
    np.testing.assert_allclose(weigh(pools), [2 / 3, 1 / 3])
