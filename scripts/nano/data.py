"""The corpus as the training stages read it: utterances in memory-mapped sound, and F0 where a stage wants it.

A folder of FLAC files with a `manifest.jsonl` (file, lang, text, ph, split) can join as extra voices.
Knows nothing about models.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

RATE = 24000
HOP = 480
OTHER_LANGUAGE = 0.2
MEL_MEAN, MEL_STD = -4.12, 2.24  # of the corpus's log mels
COUNTED_SECONDS = 3600.0
SENTENCE, SHORT = "sentence", "short"
COPY = "@"  # in the names of voices that are copies of others
ROOM = COPY + "room"  # of copies that sound as if recorded in a room
Wave = NDArray[np.float32]


@dataclass(frozen=True)
class Utterance:
    """One recording. `key` is unique; `start` and `samples` lie in the voice's sound file."""

    key: str
    voice: str
    lang: str
    text: str
    phonemes: str
    start: int
    samples: int
    source: Path = field(repr=False)

    @property
    def kind(self) -> str:
        """SHORT for what was made of short texts (corpus.py), else SENTENCE."""
        return SHORT if "-short" in self.source.stem else SENTENCE

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.samples / RATE

    def wave(self, start: int = 0, samples: int | None = None) -> Wave:
        """Float32 samples in [-1, 1] at 24 kHz, from `start`."""
        count = self.samples - start if samples is None else samples
        if self.source.suffix == ".flac":
            sound, _ = soundfile.read(self.source, dtype="float32", start=start, frames=count)
            return np.asarray(sound)
        pcm = np.memmap(self.source, "<i2", "r", offset=2 * (self.start + start), shape=(count,))
        return np.asarray(pcm, np.float32) / 32768


@dataclass(frozen=True)
class Corpus:
    """All utterances of a work folder, in a fixed order."""

    work: Path
    extra: Path | None = None

    @cached_property
    def utterances(self) -> list[Utterance]:
        """Voices of `corpus/`, then the extra folder's."""
        found: list[Utterance] = []
        for manifest in sorted((self.work / "corpus").glob("*.jsonl")):
            voice = manifest.stem.rpartition("-")[0]
            for row in map(json.loads, manifest.read_text(encoding="utf-8").splitlines()):
                key = f"{manifest.stem}-{row['index']}"
                place = (row["start"], row["samples"], manifest.with_suffix(".pcm"))
                found.append(Utterance(key, voice, row["lang"], row["text"], row["ph"], *place))
        if self.extra:
            for row in map(json.loads, (self.extra / "manifest.jsonl").read_text(encoding="utf-8").splitlines()):
                if row["split"] == "train":
                    place = (0, int(row["dur"] * RATE), self.extra / row["file"])
                    found.append(Utterance(row["id"], row["spk"], row["lang"], row["text"], row["ph"], *place))
        return found

    def train(self, *, rooms: bool = False, short: bool = False) -> list[Utterance]:
        """All but the held-out ones; copies in rooms, and short texts, only for a stage that is to learn them too."""
        held_out = {u.key for u in self.test(short=True)}
        return [
            u
            for u in self.utterances
            if u.key not in held_out and (rooms or not u.voice.endswith(ROOM)) and (short or u.kind != SHORT)
        ]

    def test(self, *, short: bool = False) -> list[Utterance]:
        """Every 50th utterance of each of the work folder's own files: never trained on, nor copied."""
        own: dict[Path, list[Utterance]] = {}
        for utterance in self.utterances:
            if utterance.source.suffix == ".pcm" and COPY not in utterance.voice and (short or utterance.kind != SHORT):
                own.setdefault(utterance.source, []).append(utterance)
        return [utterance for rows in own.values() for utterance in rows[25::50]]


Pools = dict[tuple[str, str], list[Utterance]]
"""Utterances by voice and language."""
Weights = NDArray[np.float64]
"""How often each pool is drawn."""


def pools_of(utterances: Iterable[Utterance]) -> Pools:
    """Sorted by voice and language."""
    pools: Pools = {}
    for utterance in utterances:
        pools.setdefault((utterance.voice, utterance.lang), []).append(utterance)
    return dict(sorted(pools.items()))


def weigh(pools: Pools, counted: float = COUNTED_SECONDS) -> Weights:
    """Both languages alike, voices within one by their time, at most `counted` seconds; a copy by half of that."""
    times = [
        min(sum(u.seconds for u in pool), counted) * (0.5 if COPY in voice else 1.0)
        for (voice, _), pool in pools.items()
    ]
    totals: dict[str, float] = {}
    for (_, lang), time in zip(pools, times, strict=True):
        totals[lang] = totals.get(lang, 0.0) + time
    return np.array([time / totals[lang] / len(totals) for (_, lang), time in zip(pools, times, strict=True)])


def draw_in_a_row(pools: Pools, weights: Weights, rng: np.random.Generator) -> Iterator[Utterance]:
    """Utterances of one voice without end; those before one in the voice's other language are sometimes in its own."""
    keys = list(pools)
    voice, lang = keys[int(rng.choice(len(keys), p=weights))]
    others = [key for key in keys if key[0] == voice and key[1] != lang]
    while True:
        key = others[0] if others and rng.random() < OTHER_LANGUAGE else (voice, lang)
        pool = pools[key]
        yield pool[int(rng.integers(len(pool)))]


def f0_track(wave: Wave) -> Wave:
    """F0 in Hz at the mel frames' centres (0 where unvoiced): float32 (samples // HOP,), by WORLD's DIO."""
    import pyworld

    # Frame i of the mel stands over samples i·HOP … (i+1)·HOP; DIO's frame i over i·HOP.
    sound = wave[HOP // 2 :].astype(np.float64)
    # Decimated by 8: thirteen times as fast, and StoneMask brings the precision back.
    raw, times = pyworld.dio(sound, RATE, frame_period=1000 * HOP / RATE, f0_floor=60.0, f0_ceil=500.0, speed=8)
    track = pyworld.stonemask(sound, raw, times, RATE).astype(np.float32)
    frames = len(wave) // HOP
    return np.pad(track[:frames], (0, max(frames - len(track), 0)))
