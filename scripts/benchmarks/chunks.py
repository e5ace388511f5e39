"""What it costs to speak in blocks instead of whole: likeness, joins, understanding; and what length costs.

    python -m scripts.benchmarks.chunks                    mel and joins over held-out sentences, cost at 10 to 120 s
    python -m scripts.benchmarks.chunks --hear             a recogniser listens as well
    python -m scripts.benchmarks.chunks --lang zh          one language only

Every sentence is spoken with one seed as a whole and in blocks of two designs: `prompted`, where what was said extends
the prompt (scripts/benchmarks/chunks_as_prompt.py), and `remembered`, as the engine streams. The tokens are the
same, so what differs is the blocks. All in float32 on one core's threads; costs are CPU seconds of the process, so
other programs hardly change them.
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
from scripts.benchmarks.speech_metrics import Recogniser, error_rate
from scripts.evaluate import prompts_of
from scripts.nano.sentences import held_out

SPAN = 120
"""Samples on either side of a place whose energies are compared: 5 ms."""
SECONDS = (10, 30, 60, 120)
HALVES = (0.5, 0.9)

Speak = Callable[[str, int], Wave]
"""A text and a seed to a waveform."""


@dataclass(frozen=True)
class Said:
    """A sentence as a whole, and in blocks, by design; `joins`: the samples at which blocks meet."""

    text: str
    whole: Wave
    blocks: dict[str, Wave]
    joins: NDArray[np.int64]


def designs(model: Model, engine: BatchEngine, voice: Voice) -> dict[str, Speak]:
    """The two ways to speak in blocks."""
    rate = engine.info.sample_rates[0]

    def prompted(text: str, seed: int) -> Wave:
        segments = chunks_as_prompt.draw(model, text, voice, seed)
        return np.concatenate([chunks_as_prompt.sound(model, segment, voice, rate) for segment in segments])

    def remembered(text: str, seed: int) -> Wave:
        job = Job(tuple(engine.segments(text)), voice, rate, seed=seed)
        return np.concatenate(list(engine.submit(job).chunks()))

    return {"prompted": prompted, "remembered": remembered}


def say(model: Model, voice: Voice, text: str, seed: int, ways: dict[str, Speak]) -> Said:
    speech = synthesize(model, text, voice, seed=seed)
    sizes = np.array([len(tokens) for tokens in speech.tokens]) * speech.sample_rate // TOKEN_RATE
    joins = [
        before + block.end * speech.sample_rate // TOKEN_RATE
        for before, tokens in zip(np.cumsum(sizes) - sizes, speech.tokens, strict=True)
        for block in Chunker(ChunkSchedule()).remaining(len(tokens))
        if not block.last
    ]
    blocks = {name: way(text, seed) for name, way in ways.items()}
    return Said(text, speech.wave, blocks, np.array(joins, dtype=np.int64))


def mel_distance(one: Wave, other: Wave, rate: int) -> float:
    """Mean absolute difference of the log mels, over the frames that both have."""
    mels = [log_mel(torch.from_numpy(wave)[None], MEL_BY_RATE[rate])[0] for wave in (one, other)]
    axis = 0 if mels[0].shape[1] == MEL_BY_RATE[rate].n_mels else 1
    shortest = min(mel.shape[axis] for mel in mels)
    first, second = (mel.narrow(axis, 0, shortest) for mel in mels)
    return float((first - second).abs().mean())


def energy_jumps(wave: Wave, places: NDArray[np.int64]) -> NDArray[np.float64]:
    """How much louder or softer the 5 ms after each place are than those before, in nats; silence left out."""
    power = np.concatenate([[0.0], np.cumsum(wave.astype(np.float64) ** 2)]) / SPAN
    places = places[(places > SPAN) & (places < len(wave) - SPAN)]
    before, after = power[places] - power[places - SPAN], power[places + SPAN] - power[places]
    loud = np.minimum(before, after) > 1e-6
    found: NDArray[np.float64] = np.abs(np.log(after[loud] / before[loud]))
    return found


def quantiles(values: list[NDArray[np.float64]]) -> list[float] | None:
    """Median and 90 %; None of nothing."""
    joined = np.concatenate(values)
    return [float(np.quantile(joined, share)) for share in HALVES] if len(joined) else None


def compared(said: list[Said], design: str, rate: int) -> dict[str, Any]:
    """Blocks against wholes, and joins against all other places."""
    waves = [one.blocks[design] for one in said]
    at_joins = [energy_jumps(wave, one.joins) for wave, one in zip(waves, said, strict=True)]
    elsewhere = [energy_jumps(wave, np.arange(1000, len(wave) - 1000, 37)) for wave in waves]
    distances = [mel_distance(wave, one.whole, rate) for wave, one in zip(waves, said, strict=True)]
    return {
        "mel_distance": float(np.mean(distances)),
        "joins": sum(map(len, at_joins)),
        "jump_at_joins": quantiles(at_joins),
        "jump_elsewhere": quantiles(elsewhere),
    }


def costs(way: Speak, rate: int, sentences: list[str], wanted: list[float]) -> list[dict[str, float]]:
    """CPU seconds for a second of sound, for texts that take about so long."""
    found = []
    seconds_a_letter = 0.0
    for seconds in (3, *wanted):  # the first tells how long a text is
        text, i = sentences[0], 0
        while seconds_a_letter and len(text) * seconds_a_letter < seconds:
            i += 1
            text += " " + sentences[i % len(sentences)]
        began = time.process_time()
        audio = len(way(text, 1)) / rate
        found.append({"wanted": seconds, "audio": audio, "cpu_per_audio": (time.process_time() - began) / audio})
        seconds_a_letter = audio / len(text)
    return found[1:]


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--checkpoint", type=Path, default=Path("checkpoints/nano"))
    flags.add_argument("--lang", nargs="+", choices=("en", "zh"), help="default: all that the checkpoint speaks")
    flags.add_argument("--sentences", type=int, default=10, help="of each language")
    flags.add_argument("--seconds", type=float, nargs="*", default=SECONDS, help="lengths of which the cost is told")
    flags.add_argument("--hear", action="store_true", help="needs the extra eval")
    flags.add_argument("--work", type=Path, default=Path("nano-work"), help="where the recogniser's weights are kept")
    flags.add_argument("--json", type=Path)
    return flags


def measure(model: Model, voice: Voice, engine: BatchEngine, lang: str, args: argparse.Namespace) -> dict[str, Any]:
    """All figures of one language."""
    ways, rate = designs(model, engine, voice), engine.info.sample_rates[0]
    texts = sorted(filter(None, held_out(lang)))[: args.sentences]
    said = [say(model, voice, text, seed, ways) for seed, text in enumerate(tqdm(texts, desc=lang))]
    found: dict[str, Any] = {name: compared(said, name, rate) for name in ways}
    others = [mel_distance(a.whole, b.whole, rate) for a, b in pairwise(said)]
    found |= {"sentences": len(said), "mel_distance_of_two_sentences": float(np.mean(others)) if others else None}
    if args.hear:
        recogniser = Recogniser(args.work)
        waves = {"whole": [one.whole for one in said]} | {name: [one.blocks[name] for one in said] for name in ways}
        heard = {name: [recogniser.hear(wave, rate, lang) for wave in its] for name, its in waves.items()}
        found["error"] = {name: error_rate(texts, its, lang) for name, its in heard.items()}
    for name, way in ways.items():
        found[name]["costs"] = costs(way, rate, texts, args.seconds)
    return found


def main() -> None:
    args = parser().parse_args()
    torch.set_num_threads(1)
    model = load(args.checkpoint, device="cpu")
    # Nobody takes the sound while a long text is spoken here: it must not be held back.
    engine = BatchEngine(model, EngineOptions(max_num_seqs=1, limits=SchedulerLimits(max_buffered_seconds=1e6)))
    prompts = {prompt.name: prompt for prompt in prompts_of(args.checkpoint / "voices")}
    prompt = prompts.get("default") or next(iter(prompts.values()))
    voice = engine.make_voice(prompt.recording.read_bytes(), prompt.said)
    found = {lang: measure(model, voice, engine, lang, args) for lang in args.lang or engine.info.languages}
    engine.close()
    print(json.dumps(found, indent=1))
    if args.json:
        args.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
