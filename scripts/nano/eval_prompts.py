"""Recordings of speakers that no stage was trained on, for evaluating voice cloning.

    python -m scripts.nano.eval_prompts --work nano-work
    python -m scripts.evaluate --prompts nano-work/eval_prompts

writes `eval_prompts/` in the layout of stored voices: the teacher's blends of two voices, and, if Debian's
pocketsphinx-testdata is installed, a LibriVox reader (public domain; a real room, 16 kHz).
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


class EvalPrompt(NamedTuple):
    """A blend of Kokoro's voices, and the transcript that it speaks."""

    voice: str
    lang: str
    transcript: str


BLENDED_VOICES = {
    "blend-en-1": EvalPrompt("af_bella+bm_george", "en", "The letter that I wrote last week has not arrived yet."),
    "blend-en-2": EvalPrompt(
        "bf_isabella+am_puck", "en", "There is a small shop at the corner where they sell old books."
    ),
    "blend-zh-1": EvalPrompt("zf_xiaoyi+zm_yunyang", "zh", "上个星期我寄出去的那封信，到现在还没有收到。"),
    "blend-zh-2": EvalPrompt("zm_yunjian+zf_xiaobei", "zh", "街角有一家小店，里面卖的都是旧书。"),
}
REAL_RECORDINGS = {
    "real-en-1": (
        ("0880", "he was not an ill disposed young man"),
        ("0890", "unless to be rather cold hearted and rather selfish is to be ill disposed"),
    ),
    "real-en-2": (
        ("0920", "had he married a more amiable woman he might have been made still more respectable than he was"),
    ),
}
"""Two recordings of a reader of Sense and Sensibility: numbers and texts of the files."""
PAUSE_SECONDS = 0.3


def write_voice(folder: Path, lang: str, transcript: str, wave: Wave) -> None:
    """Writes a recording as a stored voice of one style."""
    folder.mkdir(parents=True, exist_ok=True)
    voice = {"name": folder.name, "language": lang, "transcripts": {"neutral": transcript}, "default_style": "neutral"}
    (folder / "voice.json").write_text(json.dumps(voice, indent=1, ensure_ascii=False), encoding="utf-8")
    soundfile.write(folder / "neutral.flac", wave, RATE)


def read(parts: tuple[tuple[str, str], ...]) -> tuple[Wave, str]:
    """Concatenated LibriVox recordings, and their transcript as one sentence."""
    waves: list[Wave] = []
    for number, _ in parts:
        wave, rate = soundfile.read(LIBRIVOX / f"sense_and_sensibility_01_austen_64kb-{number}.wav", dtype="float32")
        waves += [resample(wave, rate, RATE), np.zeros(int(PAUSE_SECONDS * RATE), np.float32)]
    transcript = " ".join(text for _, text in parts)
    return np.concatenate(waves[:-1]), f"{transcript[0].upper()}{transcript[1:]}."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("nano-work"))
    args = parser.parse_args()
    folder = args.work / "eval_prompts"
    for name, prompt in BLENDED_VOICES.items():
        _, wave = kokoro(args.work, prompt.voice, prompt.lang)(prompt.transcript, 0)
        write_voice(folder / name, prompt.lang, prompt.transcript, trim(wave))
    if not LIBRIVOX.exists():
        print(f"{LIBRIVOX} is missing (Debian's pocketsphinx-testdata): no real recording")
        return
    for name, parts in REAL_RECORDINGS.items():
        wave, transcript = read(parts)
        write_voice(folder / name, "en", transcript, wave)


if __name__ == "__main__":
    main()
