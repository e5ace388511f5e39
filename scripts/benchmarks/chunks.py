"""Measures what streaming in chunks costs: differences from the whole, joins, error rate, and CPU time by length.

    python -m scripts.benchmarks.chunks                    mel and joins over held-out sentences, cost at 10 to 120 s
    python -m scripts.benchmarks.chunks --asr              error rates as well
    python -m scripts.benchmarks.chunks --lang zh          one language only

Every sentence is synthesised with one seed as a whole and in chunks of two designs: `prompted`, where earlier speech
extends the prompt (scripts/benchmarks/chunks_as_prompt.py), and `cached`, as the engine streams. The tokens are the
same, so only the chunks differ. Everything runs in float32 on one thread; costs are CPU seconds of the process, which
other processes hardly change.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from glmtts.checkpoint.loader import Model, load
from glmtts.config import MEL_BY_RATE
from glmtts.dsp.audio import TOKEN_RATE, Wave
from glmtts.dsp.features import log_mel
from glmtts.engine.api import Job
from glmtts.engine.config import ChunkSchedule, EngineOptions, SchedulerLimits
from glmtts.engine.runtime.engine import BatchEngine
from glmtts.engine.runtime.offline import synthesize
from glmtts.engine.scheduling.chunking import Chunker
from glmtts.voice.voice import Voice
from scripts.benchmarks import chunks_as_prompt
from scripts.benchmarks.eval_cases import load_prompts
from scripts.benchmarks.speech_metrics import Recogniser, error_rate
from scripts.nano.sentences import held_out

SPAN = 120
"""Samples before and after a position whose energies are compared: 5 ms."""
SECONDS = (10, 30, 60, 120)
QUANTILES = (0.5, 0.9)

Synthesize = Callable[[str, int], Wave]
"""From a text and a seed to a waveform."""


@dataclass(frozen=True)
class Sentence:
    """A sentence as a whole, and in chunks, by design; `joins`: positions in samples at which chunks meet."""

    text: str
    whole: Wave
    chunked: dict[str, Wave]
    joins: NDArray[np.int64]


def designs(model: Model, engine: BatchEngine, voice: Voice) -> dict[str, Synthesize]:
    """The two designs by name."""
    rate = engine.info.sample_rates[0]

    def prompted(text: str, seed: int) -> Wave:
        segments = chunks_as_prompt.generate_segments(model, text, voice, seed)
        return np.concatenate([chunks_as_prompt.render(model, segment, voice, rate) for segment in segments])

    def cached(text: str, seed: int) -> Wave:
        job = Job(tuple(engine.segments(text)), voice, rate, seed=seed)
        return np.concatenate(list(engine.submit(job).chunks()))

    return {"prompted": prompted, "cached": cached}


def synthesize_sentence(model: Model, voice: Voice, text: str, seed: int, ways: dict[str, Synthesize]) -> Sentence:
    """With each of the designs `ways`."""
    speech = synthesize(model, text, voice, seed=seed)
    sizes = np.array([len(tokens) for tokens in speech.tokens]) * speech.sample_rate // TOKEN_RATE
    joins = [
        before + block.end * speech.sample_rate // TOKEN_RATE
        for before, tokens in zip(np.cumsum(sizes) - sizes, speech.tokens, strict=True)
        for block in Chunker(ChunkSchedule()).remaining(len(tokens))
        if not block.last
    ]
    chunked = {name: way(text, seed) for name, way in ways.items()}
    return Sentence(text, speech.wave, chunked, np.array(joins, dtype=np.int64))


def mel_distance(one: Wave, other: Wave, rate: int) -> float:
    """Mean absolute difference of two log mels, over the frames that both have."""
    mels = [log_mel(torch.from_numpy(wave)[None], MEL_BY_RATE[rate])[0] for wave in (one, other)]
    axis = 0 if mels[0].shape[1] == MEL_BY_RATE[rate].n_mels else 1
    shortest = min(mel.shape[axis] for mel in mels)
    first, second = (mel.narrow(axis, 0, shortest) for mel in mels)
    return float((first - second).abs().mean())


def energy_jumps(wave: Wave, positions: NDArray[np.int64]) -> NDArray[np.float64]:
    """Absolute change in log energy (nats) from the 5 ms before each position to the 5 ms after; silence left out."""
    power = np.concatenate([[0.0], np.cumsum(wave.astype(np.float64) ** 2)]) / SPAN
    at = positions[(positions > SPAN) & (positions < len(wave) - SPAN)]
    before, after = power[at] - power[at - SPAN], power[at + SPAN] - power[at]
    loud = np.minimum(before, after) > 1e-6
    jumps: NDArray[np.float64] = np.abs(np.log(after[loud] / before[loud]))
    return jumps


def quantiles(values: list[NDArray[np.float64]]) -> list[float] | None:
    """Median and 90 % quantile; None if there are no values."""
    joined = np.concatenate(values)
    return [float(np.quantile(joined, share)) for share in QUANTILES] if len(joined) else None


def compare(sentences: list[Sentence], design: str, rate: int) -> dict[str, Any]:
    """Chunked speech against the whole, and energy jumps at joins against those elsewhere."""
    waves = [sentence.chunked[design] for sentence in sentences]
    at_joins = [energy_jumps(wave, sentence.joins) for wave, sentence in zip(waves, sentences, strict=True)]
    elsewhere = [energy_jumps(wave, np.arange(1000, len(wave) - 1000, 37)) for wave in waves]
    distances = [mel_distance(wave, sentence.whole, rate) for wave, sentence in zip(waves, sentences, strict=True)]
    return {
        "mel_distance": float(np.mean(distances)),
        "joins": sum(map(len, at_joins)),
        "jump_at_joins": quantiles(at_joins),
        "jump_elsewhere": quantiles(elsewhere),
    }


def costs(way: Synthesize, rate: int, sentences: list[str], lengths: list[float]) -> list[dict[str, float]]:
    """CPU seconds per second of audio, for texts of about the given lengths in seconds."""
    rows = []
    seconds_per_character = 0.0
    for seconds in (3, *lengths):  # the first one only estimates the length of a character
        text, i = sentences[0], 0
        while seconds_per_character and len(text) * seconds_per_character < seconds:
            i += 1
            text += " " + sentences[i % len(sentences)]
        start = time.process_time()
        audio = len(way(text, 1)) / rate
        rows.append({"target": seconds, "audio": audio, "cpu_per_audio": (time.process_time() - start) / audio})
        seconds_per_character = audio / len(text)
    return rows[1:]


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--checkpoint", type=Path, default=Path("checkpoints/nano"))
    flags.add_argument("--lang", nargs="+", choices=("en", "zh"), help="(default: all of the checkpoint's languages)")
    flags.add_argument("--sentences", type=int, default=10, help="of each language")
    flags.add_argument("--seconds", type=float, nargs="*", default=SECONDS, help="lengths to measure the cost of")
    flags.add_argument("--asr", action="store_true", help="measure error rates; needs the extra eval")
    flags.add_argument("--work", type=Path, default=Path("nano-work"), help="folder of the recogniser's weights")
    flags.add_argument("--json", type=Path)
    return flags


def measure(model: Model, voice: Voice, engine: BatchEngine, lang: str, args: argparse.Namespace) -> dict[str, Any]:
    """All figures of one language."""
    ways, rate = designs(model, engine, voice), engine.info.sample_rates[0]
    texts = sorted(held_out(lang))[: args.sentences]
    sentences = [
        synthesize_sentence(model, voice, text, seed, ways) for seed, text in enumerate(tqdm(texts, desc=lang))
    ]
    figures: dict[str, Any] = {name: compare(sentences, name, rate) for name in ways}
    others = [mel_distance(a.whole, b.whole, rate) for a, b in pairwise(sentences)]
    figures["sentences"] = len(sentences)
    figures["mel_distance_of_two_sentences"] = float(np.mean(others)) if others else None
    if args.asr:
        recogniser = Recogniser(args.work)
        waves = {"whole": [s.whole for s in sentences]} | {name: [s.chunked[name] for s in sentences] for name in ways}
        texts_by_way = {name: [recogniser.transcribe(w, rate, lang) for w in group] for name, group in waves.items()}
        figures["error"] = {name: error_rate(texts, hypotheses, lang) for name, hypotheses in texts_by_way.items()}
    for name, way in ways.items():
        figures[name]["costs"] = costs(way, rate, texts, args.seconds)
    return figures


def main() -> None:
    args = parser().parse_args()
    torch.set_num_threads(1)
    model = load(args.checkpoint, device="cpu")
    # The audio of a long text is read only at its end: the engine must not wait for the reader.
    engine = BatchEngine(model, EngineOptions(max_num_seqs=1, limits=SchedulerLimits(max_buffered_seconds=1e6)))
    prompts = {prompt.name: prompt for prompt in load_prompts(args.checkpoint / "voices")}
    prompt = prompts.get("default") or next(iter(prompts.values()))
    voice = engine.make_voice(*prompt.short())
    figures = {lang: measure(model, voice, engine, lang, args) for lang in args.lang or engine.info.languages}
    engine.close()
    print(json.dumps(figures, indent=1))
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
