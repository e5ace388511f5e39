"""Writes the documentation's audio samples: stored and cloned voices, both languages, and a mixed text.

    python -m scripts.samples --prompts nano-work/eval_prompts --to docs/samples

The cloned voices need recordings in the layout of stored voices (`python -m scripts.nano.eval_prompts`).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import soundfile

import glmtts
from scripts.benchmarks.eval_cases import load_prompts


class Sample(NamedTuple):
    """A text, and the name of a stored voice or of an evaluation prompt."""

    voice: str
    text: str


SAMPLES = {
    "stored-zh": Sample("mingyue", "今天天气很好，我们一起去公园散步吧。"),
    "stored-en": Sample("hibari", "The weather is nice today, so let us walk in the park."),
    "cloned-zh": Sample("blend-zh-1", "学习一门新的语言需要耐心和坚持。"),
    "cloned-en": Sample("blend-en-2", "Spring has come and the flowers are blooming on the hill."),
    "mixed": Sample("default", "我昨天在图书馆借了三本小说，the film tells the story of a brave young soldier."),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/nano"))
    parser.add_argument("--prompts", type=Path, default=Path("nano-work/eval_prompts"))
    parser.add_argument("--to", type=Path, default=Path("docs/samples"))
    args = parser.parse_args()
    model = glmtts.load(args.checkpoint)
    prompts = {p.name: p for p in [*load_prompts(args.prompts), *load_prompts(args.checkpoint / "voices")]}
    args.to.mkdir(parents=True, exist_ok=True)
    for name, sample in SAMPLES.items():
        voice = model.voice_maker.make_voice(*prompts[sample.voice].short())
        speech = glmtts.synthesize(model, sample.text, voice, seed=0)
        soundfile.write(args.to / f"{name}.flac", speech.wave, speech.sample_rate)
        print(f"{name}: {speech.report.audio_seconds:.1f} s")


if __name__ == "__main__":
    main()
