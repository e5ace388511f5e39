"""How well a checkpoint speaks: held-out sentences, its stored voices, a recogniser. A table, and JSON.

    python -m scripts.evaluate --checkpoint checkpoints/nano --json result.json

Speaks offline, one sentence at a time, with a fixed seed each; the same call gives the same figures.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from tqdm import tqdm

import glmtts
from glmtts.checkpoint import Model
from scripts.judges import Recogniser, Wave, error_rate
from scripts.nano.sentences import held_out

SILENT_RMS, CLIPPED = 0.003, 0.985
UNIT = {"en": "word error", "zh": "toneless-syllable error"}


@dataclass
class Spoken:
    """One sentence, as it was asked for, as it was heard, and what it took."""

    lang: str
    voice: str
    text: str
    heard: str
    seconds: float
    finish: str
    stages: dict[str, float]
    rms: float
    peak: float


def stored_voices(checkpoint: Path) -> dict[str, dict[str, Any]]:
    """Descriptions of the checkpoint's own voices by name."""
    found = sorted((checkpoint / "voices").glob("*/voice.json"))
    return {file.parent.name: json.loads(file.read_text(encoding="utf-8")) for file in found}


def make_voice(model: Model, checkpoint: Path, name: str, described: dict[str, Any]) -> glmtts.Voice:
    """A stored voice in its default style."""
    style = described["default_style"]
    recording = (checkpoint / "voices" / name / f"{style}.flac").read_bytes()
    return model.voice_maker.make_voice(recording, described["transcripts"][style])


def evaluate(model: Model, voices: dict[str, glmtts.Voice], lang: str, args: argparse.Namespace) -> list[Spoken]:
    """Every held-out sentence of the language in every one of `voices`."""
    sentences = sorted(filter(None, held_out(lang)))[: args.sentences]
    judge = Recogniser(args.work, args.threads)
    results = []
    for name, voice in voices.items():
        for number, text in enumerate(tqdm(sentences, desc=f"{lang} {name}", mininterval=5)):
            speech = glmtts.synthesize(model, text, voice, seed=number)
            wave: Wave = speech.wave
            if args.out:
                args.out.mkdir(parents=True, exist_ok=True)
                soundfile.write(args.out / f"{lang}-{name}-{number:02}.flac", wave, speech.sample_rate)
            level = float(np.sqrt(np.mean(wave**2))) if len(wave) else 0.0
            heard = judge.hear(wave, speech.sample_rate, lang) if len(wave) else ""
            report = speech.report
            results.append(
                Spoken(lang, name, text, heard, report.audio_seconds, str(report.finish_reason), report.stage_seconds,
                       level, float(np.abs(wave).max(initial=0.0)))
            )  # fmt: skip
    return results


def summary(results: list[Spoken]) -> dict[str, Any]:
    """Figures of one language in one voice."""
    lang = results[0].lang
    audio = sum(r.seconds for r in results)
    stages: dict[str, float] = defaultdict(float)
    for result in results:
        for stage, seconds in result.stages.items():
            stages[stage] += seconds / audio
    return {
        "sentences": len(results),
        "measure": UNIT[lang],
        "error": error_rate([r.text for r in results], [r.heard for r in results], lang),
        "audio_seconds": audio,
        "rtf": sum(stages.values()),
        "rtf_by_stage": dict(stages),
        "cut_at_the_maximum": sum(r.finish == "length" for r in results),
        "silent": sum(r.rms < SILENT_RMS for r in results),
        "clipped": sum(r.peak > CLIPPED for r in results),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/nano"))
    parser.add_argument("--work", type=Path, default=Path("nano-work"), help="where the judges' weights are kept")
    parser.add_argument("--sentences", type=int, help="at most so many a language and voice")
    parser.add_argument("--voices", nargs="*", help="names of stored voices; each in its own language, default in both")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write all figures, and what was heard, here")
    parser.add_argument("--out", type=Path, help="keep the speech in this folder, as FLAC")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = glmtts.load(args.checkpoint)
    described = stored_voices(args.checkpoint)
    made = {name: make_voice(model, args.checkpoint, name, about) for name, about in described.items()}
    everything, table = [], {}
    for lang in model.info.languages:
        own = {n: v for n, v in made.items() if n == "default" or described[n]["language"] == lang}
        wanted = {n: v for n, v in own.items() if args.voices is None or n in args.voices}
        results = evaluate(model, wanted, lang, args) if wanted else []
        for name in wanted:
            table[f"{lang} {name}"] = summary([r for r in results if r.voice == name])
        everything += results
    columns = ("sentences", "error", "rtf", "cut_at_the_maximum", "silent", "clipped")
    print(f"{'language, voice':24}" + "".join(f"{column:>20}" for column in columns))
    for row, figures in table.items():
        print(f"{row:24}" + "".join(f"{figures[column]:>20.3g}" for column in columns))
    if args.json:
        rows = [vars(result) for result in everything]
        args.json.write_text(json.dumps({"figures": table, "rows": rows}, ensure_ascii=False, indent=1), "utf-8")


if __name__ == "__main__":
    main()
