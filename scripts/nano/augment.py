"""Stage: data augmentation. Copies of utterances at another speed, so with another pitch and vocal tract length.

    python -m scripts.nano.augment --work nano-work --extra ../corpus --voices hibari zf_xiaoxiao --minutes 20

Without `--voices` every voice is copied. `corpus/VOICE@SPEED-0` has an evenly spaced selection of a voice's training
utterances, played SPEED times as fast; `corpus/VOICE@room-0` has them in a simulated room, with a simulated microphone,
at a random speed. Copies keep a model from overfitting to a few voices, and rooms prepare it for prompts without treble
or with reverberation.
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
from scripts.nano.training import arguments, configure_torch

SPEEDS = (0.89, 1.12)


def match_loudness(sound: NDArray[np.floating], wave: Wave) -> Wave:
    """`sound`, scaled to the peak of `wave`."""
    return np.asarray(sound * (np.abs(wave).max() / max(float(np.abs(sound).max()), 1e-6)), np.float32)


def change_speed(wave: Wave, speed: float) -> Wave:
    """The samples of `wave` played `speed` times as fast, at the same rate and peak."""
    return match_loudness(resample(wave, round(RATE * speed), RATE), wave)


ROOM_SPEEDS = (0.85, 1.18)
BANDWIDTHS = (4000.0, 6000.0, 8000.0, 8000.0, 12000.0)  # Hz: telephones, speech archives, studios
MAX_GAIN_DB, GAIN_POINTS = 6.0, 8  # of a random equaliser whose points are an equal ratio apart
REVERB_SECONDS, REVERB_DB = (0.1, 0.5), (-24.0, -8.0)  # RT60, and energy relative to the direct sound
NOISE_DB = (-50.0, -25.0)  # relative to the sound


class RoomSimulation:
    """Random speed, equaliser, bandwidth, reverberation and noise; a function of the seed."""

    def __init__(self, seed: int) -> None:
        self._rng = rng = np.random.default_rng(seed)
        self._speed = float(rng.uniform(*ROOM_SPEEDS))
        self.bandwidth = float(rng.choice(BANDWIDTHS))
        self._gain_db = rng.uniform(-MAX_GAIN_DB, MAX_GAIN_DB, GAIN_POINTS)
        seconds = rng.uniform(*REVERB_SECONDS)
        time = np.arange(int(seconds * RATE)) / RATE
        tail = rng.standard_normal(len(time)) * 10 ** (-3 * time / seconds)
        self._impulse_response = tail * np.sqrt(10 ** (rng.uniform(*REVERB_DB) / 10) / np.square(tail).sum())
        self._impulse_response[0] = 1.0
        self._noise = 10 ** (rng.uniform(*NOISE_DB) / 20)

    def __call__(self, wave: Wave) -> Wave:
        """`wave` in the room, with the same peak."""
        played = change_speed(wave, self._speed)
        size = len(played) + len(self._impulse_response)
        # The reverberation after the end is cut off.
        sound = np.fft.irfft(np.fft.rfft(played, size) * np.fft.rfft(self._impulse_response, size), size)
        sound = sound[: len(played)]
        sound += self._noise * np.sqrt(np.mean(sound**2)) * self._rng.standard_normal(len(sound))
        frequency = np.fft.rfftfreq(len(sound), 1 / RATE)
        points = np.geomspace(80.0, RATE / 2, GAIN_POINTS)
        gain = 10 ** (np.interp(np.log(frequency.clip(min=1.0)), np.log(points), self._gain_db) / 20)
        gain /= 1 + (frequency / self.bandwidth) ** 40 if self.bandwidth < RATE / 2 else 1.0
        sound = np.fft.irfft(np.fft.rfft(sound) * gain, len(sound))
        return match_loudness(sound, wave)


def evenly_spaced(utterances: list[Utterance], seconds: float) -> list[Utterance]:
    """Every k-th utterance, so that their total length is at most about `seconds`."""
    total = sum(u.seconds for u in utterances)
    step = max(total / seconds, 1.0)
    return [utterances[int(i * step)] for i in range(int(len(utterances) / step))]


def write_voice(stem: Path, utterances: list[Utterance], transform: Callable[[Wave], Wave]) -> None:
    """Writes one copied voice: the audio first, then the manifest, whose presence means that it is complete."""
    rows, written = [], 0
    with stem.with_name(stem.name + ".pcm").open("wb") as sound:
        for index, utterance in enumerate(utterances):
            wave = transform(utterance.wave())
            sound.write(np.round(wave * 32767).astype("<i2").tobytes())
            row = {"index": index, "lang": utterance.lang, "text": utterance.text, "ph": utterance.phonemes}
            rows.append(json.dumps({**row, "start": written, "samples": len(wave)}, ensure_ascii=False))
            written += len(wave)
    stem.with_name(stem.name + ".jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")


def main() -> None:
    parser = arguments(__doc__, steps=0)
    parser.add_argument("--voices", nargs="*", help="voices to copy (default: all)")
    parser.add_argument("--minutes", type=float, default=20.0, help="at most, of each voice (default: %(default)s)")
    args = parser.parse_args()
    configure_torch(args)
    voices: dict[str, list[Utterance]] = {}
    for utterance in Corpus(args.work, args.extra).train():
        if COPY not in utterance.voice and (not args.voices or utterance.voice in args.voices):
            voices.setdefault(utterance.voice, []).append(utterance)
    for voice, utterances in tqdm(sorted(voices.items()), desc="copies"):
        transforms: dict[str, Callable[[Wave], Wave]] = {str(s): partial(change_speed, speed=s) for s in SPEEDS}
        transforms[ROOM.removeprefix(COPY)] = RoomSimulation(zlib.crc32(voice.encode()))
        for name, transform in transforms.items():
            stem = args.work / "corpus" / f"{voice}{COPY}{name}-0"
            if not stem.with_name(stem.name + ".jsonl").exists():
                write_voice(stem, evenly_spaced(utterances, 60 * args.minutes), transform)


if __name__ == "__main__":
    main()
