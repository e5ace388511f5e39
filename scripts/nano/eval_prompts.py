"""Recordings of people that no stage was trained on, for evaluating what a clone is like.

    python -m scripts.nano.eval_prompts --work nano-work
    python -m scripts.evaluate --prompts nano-work/clones

writes `clones/` in the layout of stored voices: the teacher's blends of two voices, and, where Debian's
pocketsphinx-testdata is installed, a reader of LibriVox (public domain; a real room, 16 kHz).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from glmtts.dsp.features import resample
from scripts.nano.corpus import RATE, Wave, kokoro, trim

LIBRIVOX = Path("/usr/share/pocketsphinx/test/data/librivox")


class Clone(NamedTuple):
    """Whose voice says what in which language."""

    voice: str
    lang: str
    said: str


BLENDS = {
    "blend-en-1": Clone("af_bella+bm_george", "en", "The letter that I wrote last week has not arrived yet."),
    "blend-en-2": Clone("bf_isabella+am_puck", "en", "There is a small shop at the corner where they sell old books."),
    "blend-zh-1": Clone("zf_xiaoyi+zm_yunyang", "zh", "上个星期我寄出去的那封信，到现在还没有收到。"),
    "blend-zh-2": Clone("zm_yunjian+zf_xiaobei", "zh", "街角有一家小店，里面卖的都是旧书。"),
}
REAL = {
    "real-en-1": (
        ("0880", "he was not an ill disposed young man"),
        ("0890", "unless to be rather cold hearted and rather selfish is to be ill disposed"),
    ),
    "real-en-2": (
        ("0920", "had he married a more amiable woman he might have been made still more respectable than he was"),
    ),
}
"""The reader of Sense and Sensibility, in two recordings."""
PAUSE = 0.3


def keep(folder: Path, lang: str, said: str, wave: Wave) -> None:
    """Stores a recording as a voice of one style."""
    folder.mkdir(parents=True, exist_ok=True)
    about = {"name": folder.name, "language": lang, "transcripts": {"neutral": said}, "default_style": "neutral"}
    (folder / "voice.json").write_text(json.dumps(about, indent=1, ensure_ascii=False), encoding="utf-8")
    soundfile.write(folder / "neutral.flac", wave, RATE)


def read(parts: tuple[tuple[str, str], ...]) -> tuple[Wave, str]:
    """Recordings of LibriVox one after the other, and their text as a sentence."""
    waves: list[Wave] = []
    for number, _ in parts:
        wave, rate = soundfile.read(LIBRIVOX / f"sense_and_sensibility_01_austen_64kb-{number}.wav", dtype="float32")
        waves += [resample(wave, rate, RATE), np.zeros(int(PAUSE * RATE), np.float32)]
    said = " ".join(text for _, text in parts)
    return np.concatenate(waves[:-1]), f"{said[0].upper()}{said[1:]}."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("nano-work"))
    args = parser.parse_args()
    for name, clone in BLENDS.items():
        _, wave = kokoro(args.work, clone.voice, clone.lang)(clone.said, 0)
        keep(args.work / "clones" / name, clone.lang, clone.said, trim(wave))
    if not LIBRIVOX.exists():
        print(f"{LIBRIVOX} is missing (Debian's pocketsphinx-testdata): no real recording")
        return
    for name, parts in REAL.items():
        wave, said = read(parts)
        keep(args.work / "clones" / name, "en", said, wave)


if __name__ == "__main__":
    main()
