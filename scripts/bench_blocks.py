"""What it costs to speak in blocks instead of whole: likeness, joins, understanding; and what length costs.

    python -m scripts.bench_blocks                    mel and joins over held-out sentences, cost at 10 to 120 s
    python -m scripts.bench_blocks --hear             a recogniser listens to both as well

Every sentence is spoken twice with one seed, as a stream and as a whole: the tokens are the same, so what differs is
the blocks. Costs are CPU seconds of the process, so other programs hardly change them. Knows nothing about servers.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from glmtts.audio import Wave
from glmtts.config import MEL_BY_RATE
from glmtts.engine import load_engine
from glmtts.engine.engine import BatchEngine
from glmtts.engine.job import Job
from glmtts.engine.options import Options
from glmtts.engine.streams import Limits
from glmtts.voice.features import log_mel
from glmtts.voice.voice import Voice
from scripts.evaluate import prompts_of
from scripts.judges import Recogniser, error_rate
from scripts.nano.sentences import held_out

SPAN = 120
"""Samples on either side of a place whose energies are compared: 5 ms."""
SECONDS = (10, 30, 60, 120)


@dataclass(frozen=True)
class Both:
    """A sentence as chunks of a stream, and as a whole."""

    text: str
    chunks: list[Wave]
    whole: Wave

    @property
    def stream(self) -> Wave:
        return np.concatenate(self.chunks)


def speak(engine: BatchEngine, text: str, voice: Voice, seed: int, *, stream: bool) -> list[Wave]:
    job = Job(tuple(engine.segments(text)), voice, engine.info.sample_rates[0], seed=seed, stream=stream)
    return list(engine.submit(job).chunks())


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


def compared(said: list[Both], rate: int) -> dict[str, Any]:
    """Streams against wholes, and joins against all other places."""
    at_joins, elsewhere = [], []
    for one in said:
        joins = np.cumsum([len(chunk) for chunk in one.chunks])[:-1]
        at_joins.append(energy_jumps(one.stream, joins))
        elsewhere.append(energy_jumps(one.stream, np.arange(1000, len(one.stream) - 1000, 37)))
    inside, outside = np.concatenate(at_joins), np.concatenate(elsewhere)
    return {
        "sentences": len(said),
        "mel_distance": float(np.mean([mel_distance(one.stream, one.whole, rate) for one in said])),
        "mel_distance_to_another_sentence": float(
            np.mean([mel_distance(a.whole, b.whole, rate) for a, b in pairwise(said)])
        ),
        "joins": len(inside),
        "jump_at_joins": [float(np.quantile(inside, share)) for share in (0.5, 0.9)],
        "jump_elsewhere": [float(np.quantile(outside, share)) for share in (0.5, 0.9)],
    }


def costs(engine: BatchEngine, voice: Voice, sentences: list[str]) -> list[dict[str, float]]:
    """CPU seconds for a second of a stream, for texts that take about so long."""
    found, rate = [], engine.info.sample_rates[0]
    seconds_a_letter = 0.0
    for seconds in (3, *SECONDS):  # the first tells how long a text is
        text, i = sentences[0], 0
        while seconds_a_letter and len(text) * seconds_a_letter < seconds:
            i += 1
            text += " " + sentences[i % len(sentences)]
        began = time.process_time()
        audio = sum(map(len, speak(engine, text, voice, seed=1, stream=True))) / rate
        found.append({"wanted": seconds, "audio": audio, "cpu_per_audio": (time.process_time() - began) / audio})
        seconds_a_letter = audio / len(text)
    return found[1:]


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--checkpoint", type=Path, default=Path("checkpoints/nano"))
    flags.add_argument("--sentences", type=int, default=10, help="of each language")
    flags.add_argument("--hear", action="store_true", help="needs the extra eval")
    flags.add_argument("--work", type=Path, default=Path("nano-work"), help="where the recogniser's weights are kept")
    flags.add_argument("--json", type=Path)
    args = flags.parse_args()
    # Nobody takes the sound while a long text is spoken here: it must not be held back.
    engine = load_engine(args.checkpoint, device="cpu", options=Options(limits=Limits(unsent=1e6)))
    rate, found = engine.info.sample_rates[0], {}
    prompts = {prompt.name: prompt for prompt in prompts_of(args.checkpoint / "voices")}
    prompt = prompts.get("default") or next(iter(prompts.values()))
    voice = engine.make_voice(prompt.recording.read_bytes(), prompt.said)
    for lang in engine.info.languages:
        texts = sorted(filter(None, held_out(lang)))[: args.sentences]
        said = []
        for seed, text in enumerate(tqdm(texts, desc=lang)):
            stream, whole = (speak(engine, text, voice, seed, stream=stream) for stream in (True, False))
            said.append(Both(text, stream, np.concatenate(whole)))
        found[lang] = compared(said, rate)
        if args.hear:
            recogniser = Recogniser(args.work)
            for name in ("stream", "whole"):
                heard = [recogniser.hear(getattr(one, name), rate, lang) for one in said]
                found[lang][f"error_{name}"] = error_rate(texts, heard, lang)
        found[lang]["costs"] = costs(engine, voice, texts)
    engine.close()
    print(json.dumps(found, indent=1))
    if args.json:
        args.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
