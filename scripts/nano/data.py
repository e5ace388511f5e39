"""Access to the corpus for the training stages: utterances in memory-mapped audio, sampling weights, and F0.

A folder of FLAC files with a `manifest.jsonl` (file, lang, text, ph, split) can provide extra voices.
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
OTHER_LANGUAGE_SHARE = 0.2
MEL_MEAN, MEL_STD = -4.12, 2.24  # of the corpus's log mels
MAX_COUNTED_SECONDS = 3600.0
SENTENCE, SHORT = "sentence", "short"
COPY = "@"  # in the names of augmented voices
ROOM = COPY + "room"  # at the end of the names of voices in a simulated room
Wave = NDArray[np.float32]


@dataclass(frozen=True)
class Utterance:
    """One recording. `key` is unique; `start` and `samples` are positions in the voice's audio file."""

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
        """SHORT for recordings of short texts (see corpus.py), else SENTENCE."""
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
        """Those of `corpus/`, then those of the extra folder."""
        utterances: list[Utterance] = []
        for manifest in sorted((self.work / "corpus").glob("*.jsonl")):
            voice = manifest.stem.rpartition("-")[0]
            for row in map(json.loads, manifest.read_text(encoding="utf-8").splitlines()):
                key = f"{manifest.stem}-{row['index']}"
                place = (row["start"], row["samples"], manifest.with_suffix(".pcm"))
                utterances.append(Utterance(key, voice, row["lang"], row["text"], row["ph"], *place))
        if self.extra:
            for row in map(json.loads, (self.extra / "manifest.jsonl").read_text(encoding="utf-8").splitlines()):
                if row["split"] == "train":
                    place = (0, int(row["dur"] * RATE), self.extra / row["file"])
                    utterances.append(Utterance(row["id"], row["spk"], row["lang"], row["text"], row["ph"], *place))
        return utterances

    def train(self, *, rooms: bool = False, short: bool = False) -> list[Utterance]:
        """All but the held-out ones; copies in rooms and short texts only on request."""
        held_out = {u.key for u in self.test(short=True)}
        return [
            u
            for u in self.utterances
            if u.key not in held_out and (rooms or not u.voice.endswith(ROOM)) and (short or u.kind != SHORT)
        ]

    def test(self, *, short: bool = False) -> list[Utterance]:
        """Every 50th utterance of each file of `corpus/`: never trained on, never augmented."""
        own: dict[Path, list[Utterance]] = {}
        for utterance in self.utterances:
            if utterance.source.suffix == ".pcm" and COPY not in utterance.voice and (short or utterance.kind != SHORT):
                own.setdefault(utterance.source, []).append(utterance)
        return [utterance for rows in own.values() for utterance in rows[25::50]]


Pools = dict[tuple[str, str], list[Utterance]]
"""Utterances by voice and language."""
Weights = NDArray[np.float64]
"""Sampling probability of each pool."""


def pools_of(utterances: Iterable[Utterance]) -> Pools:
    """Groups utterances by voice and language, sorted."""
    pools: Pools = {}
    for utterance in utterances:
        pools.setdefault((utterance.voice, utterance.lang), []).append(utterance)
    return dict(sorted(pools.items()))


def weigh(pools: Pools, max_seconds: float = MAX_COUNTED_SECONDS) -> Weights:
    """Equal weights for both languages; within one, by a voice's length up to `max_seconds`, halved for a copy."""
    times = [
        min(sum(u.seconds for u in pool), max_seconds) * (0.5 if COPY in voice else 1.0)
        for (voice, _), pool in pools.items()
    ]
    totals: dict[str, float] = {}
    for (_, lang), time in zip(pools, times, strict=True):
        totals[lang] = totals.get(lang, 0.0) + time
    return np.array([time / totals[lang] / len(totals) for (_, lang), time in zip(pools, times, strict=True)])


def sample_voice(pools: Pools, weights: Weights, rng: np.random.Generator) -> Iterator[Utterance]:
    """An endless sequence of utterances of one voice and language, some of them in the voice's other language."""
    keys = list(pools)
    voice, lang = keys[int(rng.choice(len(keys), p=weights))]
    others = [key for key in keys if key[0] == voice and key[1] != lang]
    while True:
        key = others[0] if others and rng.random() < OTHER_LANGUAGE_SHARE else (voice, lang)
        pool = pools[key]
        yield pool[int(rng.integers(len(pool)))]


def f0_track(wave: Wave) -> Wave:
    """F0 in Hz at the mel frames' centres (0 where unvoiced): float32 (samples // HOP,), by WORLD's DIO."""
    import pyworld

    # Frame i of the mel covers samples i·HOP … (i+1)·HOP; DIO's frame i is centred at i·HOP.
    sound = wave[HOP // 2 :].astype(np.float64)
    # Decimation by 8 is thirteen times as fast, and StoneMask restores the precision.
    raw, times = pyworld.dio(sound, RATE, frame_period=1000 * HOP / RATE, f0_floor=60.0, f0_ceil=500.0, speed=8)
    track = pyworld.stonemask(sound, raw, times, RATE).astype(np.float32)
    frames = len(wave) // HOP
    return np.pad(track[:frames], (0, max(frames - len(track), 0)))
