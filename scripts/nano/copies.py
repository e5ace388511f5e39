"""Stage: copies of utterances at another speed, so with another pitch and vocal tract: new voices for next to nothing.

    python -m scripts.nano.copies --work nano-work --extra ../corpus --voices hibari zf_xiaoxiao --minutes 20

Without `--voices` every one is copied. `corpus/VOICE@SPEED-0` has the utterances of a voice that are trained on, evenly
chosen, played SPEED times as fast. A model that has heard few voices learns them by heart; copies keep it from that.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from tqdm import tqdm

from glmtts.voice.features import resample
from scripts.nano.data import COPY, RATE, Corpus, Utterance, Wave
from scripts.nano.training import arguments, start

SPEEDS = (0.89, 1.12)


def at_speed(wave: Wave, speed: float) -> Wave:
    """The samples of `wave` played `speed` times as fast, at the same rate and peak."""
    played = resample(wave, round(RATE * speed), RATE)
    return np.asarray(played * (np.abs(wave).max() / max(float(np.abs(played).max()), 1e-6)), np.float32)


def chosen(utterances: list[Utterance], seconds: float) -> list[Utterance]:
    """Every k-th utterance, so that together they have at most about `seconds`."""
    total = sum(u.seconds for u in utterances)
    step = max(total / seconds, 1.0)
    return [utterances[int(i * step)] for i in range(int(len(utterances) / step))]


def write(folder: Path, voice: str, utterances: list[Utterance], speed: float) -> None:
    """One copied voice: sound, then the manifest that says it is whole."""
    stem = folder / f"{voice}{COPY}{speed}-0"
    rows, written = [], 0
    with stem.with_name(stem.name + ".pcm").open("wb") as sound:
        for index, utterance in enumerate(utterances):
            wave = at_speed(utterance.wave(), speed)
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
        for speed in SPEEDS:
            if not (args.work / "corpus" / f"{voice}{COPY}{speed}-0.jsonl").exists():
                write(args.work / "corpus", voice, chosen(utterances, 60 * args.minutes), speed)


if __name__ == "__main__":
    main()
