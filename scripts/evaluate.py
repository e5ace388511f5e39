"""Evaluates a checkpoint's speech: held-out texts of several kinds, in its voices. Prints a table; writes JSON.

    python -m scripts.evaluate --checkpoint checkpoints/nano --json result.json
    python -m scripts.evaluate --kinds words,paragraphs         # some kinds only
    python -m scripts.evaluate --prompts nano-work/eval_prompts # other recordings instead of the stored voices

Kinds: words (short texts), sentences, paragraphs, long-prompts (sentences after 15 s of prompt), speeds (sentences at
several speeds). Synthesis runs offline, one text at a time, with fixed seeds, so that the figures can be reproduced.
`error`: of a recogniser's transcripts; `exact`: share of texts without an error; `extra`: share of texts with more
words in the transcript than in the text. The extra `metrics` adds `similarity`, the cosine of the speaker embeddings of
speech and prompt; `margin`, how far that is above the mean cosine to other speakers; `dnsmos`, quality from 1 to 5.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from dataclasses import dataclass, fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from tqdm import tqdm

import glmtts
from glmtts.checkpoint.loader import Model, pick_device
from glmtts.checkpoint.precision import cast_stages, llm_dtype
from glmtts.config import EXACT_FORMATS, StageFormats
from scripts.benchmarks.eval_cases import KINDS, Prompt, Row, load_prompts, rows
from scripts.benchmarks.speech_metrics import (
    Recogniser,
    SpeakerSimilarity,
    Wave,
    dnsmos_overall,
    error_rate,
    has_extra_words,
    is_exact,
)

SILENT_RMS, CLIPPED_PEAK = 0.003, 0.985
SAME_SPEAKER = 0.75
"""Cosine above which two prompts count as one speaker, not as "others": one person may have several voices."""
STAGES = [field.name for field in fields(StageFormats)]
UNIT = {"en": "word error", "zh": "toneless-syllable error"}
COLUMNS = (
    "error", "exact", "extra", "similarity", "margin", "dnsmos", "rtf", "hit_max_length", "silent", "clipped",
)  # fmt: skip


@dataclass(frozen=True)
class Result:
    """One synthesised text and its figures; None where a metric is not installed or does not apply."""

    row: str
    lang: str
    voice: str
    text: str
    transcript: str
    seconds: float
    finish: str
    stages: dict[str, float]
    rms: float
    peak: float
    similarity: float | None
    margin: float | None
    dnsmos: float | None


class Metrics:
    """The recogniser, and the metrics that are installed. `prompts` are the recordings to compare speakers with."""

    def __init__(self, work: Path, threads: int, prompts: list[Prompt]) -> None:
        self._recogniser = Recogniser(work, threads)
        self._similarity = SpeakerSimilarity() if find_spec("resemblyzer") and find_spec("speechmos") else None
        self._embeddings: dict[str, NDArray[np.float32]] = {}
        if self._similarity is None:
            print("without speaker similarity and DNSMOS: pip install -e '.[metrics]'")
            return
        for prompt in prompts:
            wave, sample_rate = soundfile.read(prompt.recording, dtype="float32")
            self._embeddings[prompt.name] = self._similarity.embed(wave, sample_rate)

    def transcribe(self, wave: Wave, sample_rate: int, lang: str) -> str:
        """The recogniser's transcript."""
        return self._recogniser.transcribe(wave, sample_rate, lang)

    def rate(self, wave: Wave, sample_rate: int, voice: str) -> tuple[float | None, float | None, float | None]:
        """similarity, margin and dnsmos; None if the metrics are not installed, or of less than half a second."""
        if self._similarity is None or len(wave) < sample_rate // 2:
            return None, None, None
        own, embedding = self._embeddings[voice], self._similarity.embed(wave, sample_rate)
        others = [other for other in self._embeddings.values() if float(own @ other) < SAME_SPEAKER]
        similarity = float(own @ embedding)
        margin = similarity - float(np.mean([other @ embedding for other in others])) if others else None
        return similarity, margin, dnsmos_overall(wave, sample_rate)


def evaluate_row(model: Model, row: Row, metrics: Metrics, out: Path | None) -> list[Result]:
    """Synthesises and measures every text of a row; keeps the audio in `out`."""
    voice = model.voice_maker.make_voice(*row.recording())
    results = []
    for seed, text in enumerate(tqdm(row.texts, desc=row.name, mininterval=5)):
        speech = glmtts.synthesize(model, text, voice, seed=seed, speed=row.speed)
        wave, sample_rate, report = speech.wave, speech.sample_rate, speech.report
        if out:
            out.mkdir(parents=True, exist_ok=True)
            soundfile.write(out / f"{row.name.replace(' ', '-')}-{seed:02}.flac", wave, sample_rate)
        rms, peak = (float(np.sqrt(np.mean(wave**2))), float(np.abs(wave).max())) if len(wave) else (0.0, 0.0)
        transcript = metrics.transcribe(wave, sample_rate, row.lang)
        figures = (report.audio_seconds, str(report.finish_reason), report.stage_seconds, rms, peak)
        ratings = metrics.rate(wave, sample_rate, row.prompt.name)
        results.append(Result(row.name, row.lang, row.prompt.name, text, transcript, *figures, *ratings))
    return results


def mean(values: list[float | None]) -> float | None:
    """Of the values that are not None."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def summarise(results: list[Result]) -> dict[str, Any]:
    """The figures of one row."""
    lang, count = results[0].lang, len(results)
    audio = sum(r.seconds for r in results)
    stages: dict[str, float] = defaultdict(float)
    for result in results:
        for stage, seconds in result.stages.items():
            stages[stage] += seconds / audio
    return {
        "texts": count,
        "measure": UNIT[lang],
        "error": error_rate([r.text for r in results], [r.transcript for r in results], lang),
        "exact": sum(is_exact(r.text, r.transcript, lang) for r in results) / count,
        "extra": sum(has_extra_words(r.text, r.transcript, lang) for r in results) / count,
        "similarity": mean([r.similarity for r in results]),
        "margin": mean([r.margin for r in results]),
        "dnsmos": mean([r.dnsmos for r in results]),
        "audio_seconds": audio,
        "rtf": sum(stages.values()),
        "rtf_by_stage": dict(stages),
        "hit_max_length": sum(r.finish == "length" for r in results),
        "silent": sum(r.rms < SILENT_RMS for r in results),
        "clipped": sum(r.peak > CLIPPED_PEAK for r in results),
    }


def print_table(table: dict[str, dict[str, Any]]) -> None:
    print(f"{'kind, language, voice':28}" + "".join(f"{column:>15}" for column in COLUMNS))
    for name, figures in table.items():
        cells = ("–" if figures[column] is None else f"{figures[column]:.3g}" for column in COLUMNS)
        print(f"{name:28}" + "".join(f"{cell:>15}" for cell in cells))


def parse_kinds(value: str) -> list[str]:
    kinds = value.split(",")
    if unknown := set(kinds) - set(KINDS):
        raise argparse.ArgumentTypeError(f"expected some of {','.join(KINDS)}, got {','.join(sorted(unknown))}")
    return kinds


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--checkpoint", type=Path, default=Path("checkpoints/nano"))
    flags.add_argument("--kinds", type=parse_kinds, default=list(KINDS), help=f"default: {','.join(KINDS)}")
    flags.add_argument("--work", type=Path, default=Path("nano-work"), help="folder of the metrics' weights")
    flags.add_argument("--prompts", type=Path, help="folder of voices (default: the checkpoint's own)")
    flags.add_argument("--bfloat16", nargs="*", default=[], choices=STAGES, help="stages in bfloat16 (default: none)")
    flags.add_argument("--int8", action="store_true", help="the AR model's layers in int8")
    flags.add_argument("--limit", type=int, help="texts in a row, at most")
    flags.add_argument("--voices", nargs="*", help="names of voices; each speaks its own language (default: all)")
    flags.add_argument("--both", nargs="*", default=["default"], help="voices that speak both (default: %(default)s)")
    flags.add_argument("--threads", type=int, default=2)
    flags.add_argument("--json", type=Path, help="file for all figures and transcripts")
    flags.add_argument("--out", type=Path, help="folder to keep the audio in, as FLAC")
    return flags


def main() -> None:
    args = parser().parse_args()
    torch.set_num_threads(args.threads)
    formats = replace(EXACT_FORMATS, **dict.fromkeys(args.bfloat16, "bfloat16"))
    formats = replace(formats, llm="int8") if args.int8 else formats
    device = pick_device("auto")
    model = glmtts.load(args.checkpoint, device=device, dtype=llm_dtype(formats, device))
    cast_stages(model, formats)
    prompts = load_prompts(args.prompts or args.checkpoint / "voices")
    metrics = Metrics(args.work, args.threads, prompts)
    results: list[Result] = []
    table = {}
    for kind in args.kinds:
        for lang in model.info.languages:
            for prompt in prompts:
                named = args.voices is None or prompt.name in args.voices
                if not named or (lang != prompt.lang and prompt.name not in args.both):
                    continue
                for row in rows(kind, lang, prompt, args.limit):
                    row_results = evaluate_row(model, row, metrics, args.out)
                    table[row.name] = summarise(row_results)
                    results += row_results
    print_table(table)
    if args.json:
        content = {"figures": table, "rows": [vars(result) for result in results]}
        args.json.write_text(json.dumps(content, ensure_ascii=False, indent=1), "utf-8")


if __name__ == "__main__":
    main()
