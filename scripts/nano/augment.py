"""Stage: copies of utterances at another speed, so with another pitch and vocal tract: new voices for next to nothing.

    python -m scripts.nano.augment --work nano-work --extra ../corpus --voices hibari zf_xiaoxiao --minutes 20

Without `--voices` every one is copied. `corpus/VOICE@SPEED-0` has the utterances of a voice that are trained on, evenly
chosen, played SPEED times as fast; `corpus/VOICE@room-0` has them as if recorded in some room with some microphone, at
some speed. A model that has heard few voices learns them by heart; copies keep it from that. And one that has heard
studios alone does not know what to make of a prompt without treble, or with an echo.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from glmtts.dsp.features import resample
from scripts.nano.data import COPY, RATE, ROOM, Corpus, Utterance, Wave
from scripts.nano.training import arguments, start

SPEEDS = (0.89, 1.12)


def as_loud(sound: NDArray[np.floating], wave: Wave) -> Wave:
    """`sound` with the peak of `wave`."""
    return np.asarray(sound * (np.abs(wave).max() / max(float(np.abs(sound).max()), 1e-6)), np.float32)


def at_speed(wave: Wave, speed: float) -> Wave:
    """The samples of `wave` played `speed` times as fast, at the same rate and peak."""
    return as_loud(resample(wave, round(RATE * speed), RATE), wave)


ROOM_SPEEDS = (0.85, 1.18)
HIGHEST = (4000.0, 6000.0, 8000.0, 8000.0, 12000.0)  # Hz that come through: telephones, speech archives, studios
COLOUR, KNOTS = 6.0, 8  # dB up or down, at so many frequencies an equal ratio apart
ECHO_SECONDS, ECHO_DB = (0.1, 0.5), (-24.0, -8.0)  # until 60 dB less; its energy beside the sound's own
NOISE_DB = (-50.0, -25.0)  # beside the sound's energy


class Room:
    """What lies between a speaker and the file: speed, colour, the highest frequency, an echo and noise, by a seed."""

    def __init__(self, seed: int) -> None:
        self._rng = rng = np.random.default_rng(seed)
        self._speed = float(rng.uniform(*ROOM_SPEEDS))
        self.highest = float(rng.choice(HIGHEST))
        self._colour = rng.uniform(-COLOUR, COLOUR, KNOTS)
        seconds = rng.uniform(*ECHO_SECONDS)
        time = np.arange(int(seconds * RATE)) / RATE
        tail = rng.standard_normal(len(time)) * 10 ** (-3 * time / seconds)
        self._echo = tail * np.sqrt(10 ** (rng.uniform(*ECHO_DB) / 10) / np.square(tail).sum())
        self._echo[0] = 1.0
        self._noise = 10 ** (rng.uniform(*NOISE_DB) / 20)

    def __call__(self, wave: Wave) -> Wave:
        """`wave` as it comes out of there, with the same peak."""
        played = at_speed(wave, self._speed)
        size = len(played) + len(self._echo)
        # What is 60 dB down in the echo's tail, behind the end, is cut off.
        sound = np.fft.irfft(np.fft.rfft(played, size) * np.fft.rfft(self._echo, size), size)[: len(played)]
        sound += self._noise * np.sqrt(np.mean(sound**2)) * self._rng.standard_normal(len(sound))
        frequency = np.fft.rfftfreq(len(sound), 1 / RATE)
        knots = np.geomspace(80.0, RATE / 2, KNOTS)
        gain = 10 ** (np.interp(np.log(frequency.clip(min=1.0)), np.log(knots), self._colour) / 20)
        gain /= 1 + (frequency / self.highest) ** 40 if self.highest < RATE / 2 else 1.0
        sound = np.fft.irfft(np.fft.rfft(sound) * gain, len(sound))
        return as_loud(sound, wave)


def chosen(utterances: list[Utterance], seconds: float) -> list[Utterance]:
    """Every k-th utterance, so that together they have at most about `seconds`."""
    total = sum(u.seconds for u in utterances)
    step = max(total / seconds, 1.0)
    return [utterances[int(i * step)] for i in range(int(len(utterances) / step))]


def write(stem: Path, utterances: list[Utterance], copied: Callable[[Wave], Wave]) -> None:
    """One copied voice: sound, then the manifest that says it is whole."""
    rows, written = [], 0
    with stem.with_name(stem.name + ".pcm").open("wb") as sound:
        for index, utterance in enumerate(utterances):
            wave = copied(utterance.wave())
            sound.write(np.round(wave * 32767).astype("<i2").tobytes())
            row = {"index": index, "lang": utterance.lang, "text": utterance.text, "ph": utterance.phonemes}
            rows.append(json.dumps({**row, "start": written, "samples": len(wave)}, ensure_ascii=False))
            written += len(wave)
    stem.with_name(stem.name + ".jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")


def main() -> None:
    parser = arguments(__doc__, steps=0)
    parser.add_argument("--voices", nargs="*", help="which to copy; all by default")
    parser.add_argument("--minutes", type=float, default=20.0, help="of each voice at most")
    args = parser.parse_args()
    start(args)
    voices: dict[str, list[Utterance]] = {}
    for utterance in Corpus(args.work, args.extra).train():
        if COPY not in utterance.voice and (not args.voices or utterance.voice in args.voices):
            voices.setdefault(utterance.voice, []).append(utterance)
    for voice, utterances in tqdm(sorted(voices.items()), desc="copies"):
        ways: dict[str, Callable[[Wave], Wave]] = {str(s): partial(at_speed, speed=s) for s in SPEEDS}
        ways[ROOM.removeprefix(COPY)] = Room(zlib.crc32(voice.encode()))
        for name, copied in ways.items():
            stem = args.work / "corpus" / f"{voice}{COPY}{name}-0"
            if not stem.with_name(stem.name + ".jsonl").exists():
                write(stem, chosen(utterances, 60 * args.minutes), copied)


if __name__ == "__main__":
    main()
