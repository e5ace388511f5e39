"""Measures how far each stage in bfloat16, or int8, is from the same stage in float32, on the same inputs.

    python -m scripts.benchmarks.precision                              checkpoints/nano
    python -m scripts.benchmarks.precision --checkpoint DIR --device cuda
    python -m scripts.benchmarks.precision --checkpoint DIR --stages llm --sentences 0

Beside each distance is one to compare it with: that of two draws of the noise in float32. Speech of a few sentences in
float32 gives the inputs; the voice is the checkpoint's default one, or noise if it has none. Without sentences the AR
model gets random ids, which suffices for random weights. The recogniser's errors
are a matter for `python -m scripts.evaluate --bfloat16 STAGE …` and `--int8`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

import glmtts
from glmtts.checkpoint.loader import Model
from glmtts.checkpoint.precision import cast_stages, llm_dtype
from glmtts.config import EXACT_FORMATS, MEL_BY_RATE, StageFormats
from glmtts.dsp.audio import FRAMES_PER_TOKEN, frames_for_tokens
from glmtts.dsp.features import log_mel
from glmtts.engine.runtime.offline import tokens_to_mel
from glmtts.models.llm.prompt import prompt_layout
from glmtts.models.rng import stream_keys
from glmtts.voice.voice import Voice

ROOT = Path(__file__).resolve().parents[2]
TEXTS = (
    "The weather is nice today, so let us walk in the park.",
    "今天天气很好，我们一起去公园散步吧。",
    "We will meet in the conference room tomorrow afternoon.",
)
RANDOM_TEXT_IDS, RANDOM_TOKENS = 10, 60
PROMPT_TOKENS = 75
"""Of the voice of noise."""
MAX_RATIO = 8.0
"""Speech tokens for a text id: a model with random weights never ends."""
RATE = 24000
STAGES = ("llm", "flow", "vocoder")
FORMATS = (("llm", "bfloat16"), ("llm", "int8"), ("flow", "bfloat16"), ("vocoder", "bfloat16"))


@dataclass(frozen=True)
class Distance:
    """Of a stage's results to those in float32; `two_draws` is that of two results in float32 with different noise."""

    stage: str
    format: str
    measure: str
    value: float
    two_draws: float | None = None


@dataclass(frozen=True, eq=False)
class Utterance:
    """One sentence as float32 speaks it: ids of the text, speech tokens, mel (1, 80, t), and the key of its noise."""

    text: tuple[int, ...]
    tokens: tuple[int, ...]
    mel_bmt: Tensor
    key_b: Tensor


def load(checkpoint: Path, device: str, formats: StageFormats) -> Model:
    model = glmtts.load(checkpoint, device=device, dtype=llm_dtype(formats, torch.device(device)))
    cast_stages(model, formats)
    return model


def voice_of(model: Model, checkpoint: Path) -> Voice:
    """The checkpoint's default voice, or noise."""
    folder = checkpoint / "voices" / "default"
    if folder.exists():
        described = json.loads((folder / "voice.json").read_text(encoding="utf-8"))
        style = described["default_style"]
        recording = (folder / f"{style}.flac").read_bytes()
        return model.voice_maker.make_voice(recording, described["transcripts"][style])
    random = torch.Generator().manual_seed(0)
    return Voice(
        speaker=torch.randn(model.flow.config.spk_embed_dim, generator=random),
        prompt_tokens=torch.randint(model.special.speech_tokens, (PROMPT_TOKENS,), generator=random),
        prompt_mels={RATE: torch.randn(FRAMES_PER_TOKEN * PROMPT_TOKENS, 80, generator=random)},
        prompt_text=(model.special.pad,),
        reference_text="",
        digest="",
    )


def key_of(model: Model, seed: int) -> Tensor:
    return stream_keys(torch.tensor([seed]), torch.tensor([0])).to(model.device)


def mel_of(model: Model, tokens: tuple[int, ...], voice: Voice, key_b: Tensor) -> Tensor:
    return tokens_to_mel(model, tokens, voice, RATE, key_b, frames_for_tokens(len(tokens)))


def speak(model: Model, voice: Voice, sentences: int) -> list[Utterance]:
    """The first sentences, in float32."""
    utterances = []
    bounded = replace(model.generation, max_ratio=min(model.generation.max_ratio, MAX_RATIO))
    for seed, text in enumerate(TEXTS[:sentences]):
        spoken = glmtts.synthesize(replace(model, generation=bounded), text, voice, seed=seed)
        tokens, key_b = spoken.tokens[0], key_of(model, seed)
        mel_bmt = mel_of(model, tokens, voice, key_b)
        utterances.append(Utterance(tuple(spoken.segments[0].ids), tokens, mel_bmt, key_b))
    return utterances


def random_ids(model: Model) -> Utterance:
    """For the AR model alone: it need not speak."""
    random = torch.Generator().manual_seed(0)
    text = torch.randint(model.special.pad, (RANDOM_TEXT_IDS,), generator=random)
    tokens = torch.randint(model.special.speech_tokens, (RANDOM_TOKENS,), generator=random)
    return Utterance(tuple(text.tolist()), tuple(tokens.tolist()), torch.empty(0), key_of(model, 0))


def mean(distance: Callable[[Utterance], float], utterances: list[Utterance]) -> float:
    return sum(map(distance, utterances)) / len(utterances)


def log_probabilities(model: Model, utterance: Utterance) -> Tensor:
    """Of the speech tokens at each of the utterance's: (n, speech tokens)."""
    special = model.special
    ids = prompt_layout(utterance.text, (), utterance.tokens, special)
    logits_bnv = model.llm(torch.tensor([ids], device=model.device)).logits
    speech_nv = logits_bnv[0, len(utterance.text) :, special.ats : special.ate + 1]
    return F.log_softmax(speech_nv.float(), dim=-1)


def llm_distances(exact: list[Tensor], other: Model, name: str, utterances: list[Utterance]) -> list[Distance]:
    """`exact`: the log probabilities in float32 of each utterance."""
    pairs = [(p, log_probabilities(other, utterance)) for p, utterance in zip(exact, utterances, strict=True)]
    divergences = [float((p.exp() * (p - q)).sum(-1).mean()) for p, q in pairs]
    changed = [float((p.argmax(-1) != q.argmax(-1)).float().mean()) for p, q in pairs]
    return [
        Distance("llm", name, "divergence of the next token's distribution, nats", sum(divergences) / len(pairs)),
        Distance("llm", name, "share of tokens with another likeliest next one", sum(changed) / len(pairs)),
    ]


def flow_distances(exact: Model, other: Model, voice: Voice, utterances: list[Utterance]) -> list[Distance]:
    def to(model: Model, seed_shift: int) -> Callable[[Utterance], float]:
        def distance(utterance: Utterance) -> float:
            key_b = utterance.key_b + seed_shift
            return float((mel_of(model, utterance.tokens, voice, key_b) - utterance.mel_bmt).abs().mean())

        return distance

    measure = "mean difference of the log mel"
    return [Distance("flow", "bfloat16", measure, mean(to(other, 0), utterances), mean(to(exact, 1), utterances))]


def wave_distance(wave_bs: Tensor, other_bs: Tensor) -> tuple[float, float]:
    """The mean difference of their log mels, and the norm of their difference relative to the first."""
    mels = [log_mel(one_bs, MEL_BY_RATE[RATE]) for one_bs in (wave_bs, other_bs)]
    return float((mels[0] - mels[1]).abs().mean()), float((wave_bs - other_bs).norm() / wave_bs.norm())


def vocoder_distances(exact: Model, other: Model, utterances: list[Utterance]) -> list[Distance]:
    def to(model: Model, seed_shift: int, which: int) -> Callable[[Utterance], float]:
        def distance(utterance: Utterance) -> float:
            wave_bs = exact.vocoders[RATE](utterance.mel_bmt, utterance.key_b)
            other_bs = model.vocoders[RATE](utterance.mel_bmt, utterance.key_b + seed_shift)
            return wave_distance(wave_bs, other_bs)[which]

        return distance

    measures = ("mean difference of the wave's log mel", "difference of the wave, relative")
    return [
        Distance(
            "vocoder", "bfloat16", name, mean(to(other, 0, which), utterances), mean(to(exact, 1, which), utterances)
        )
        for which, name in enumerate(measures)
    ]


@torch.inference_mode()
def measure(checkpoint: Path, device: str, stages: Sequence[str], sentences: int) -> list[Distance]:
    exact: Model | None = load(checkpoint, device, EXACT_FORMATS)
    voice = voice_of(exact, checkpoint) if sentences else None
    utterances = [random_ids(exact)] if voice is None else speak(exact, voice, sentences)
    log_probabilities_nv = [log_probabilities(exact, utterance) for utterance in utterances]
    if list(stages) == ["llm"]:
        exact = None  # there may not be memory for two models
    distances = []
    for stage, name in FORMATS:
        if stage not in stages:
            continue
        other = load(checkpoint, device, replace(EXACT_FORMATS, **{stage: name}))
        if stage == "llm":
            distances += llm_distances(log_probabilities_nv, other, name, utterances)
        elif stage == "flow":
            distances += flow_distances(exact, other, voice, utterances)
        else:
            distances += vocoder_distances(exact, other, utterances)
        del other  # before the next one is loaded
    return distances


def table(distances: list[Distance]) -> str:
    """As Markdown."""
    lines = ["| stage | format | measure | distance | two draws |", "|---|---|---|---|---|"]
    for one in distances:
        draws = "" if one.two_draws is None else f"{one.two_draws:.3g}"
        lines.append(f"| {one.stage} | {one.format} | {one.measure} | {one.value:.3g} | {draws} |")
    return "\n".join(lines)


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--checkpoint", type=Path, default=ROOT / "checkpoints" / "nano")
    flags.add_argument("--device", default="cpu", help="cpu, cuda, … (default: %(default)s)")
    flags.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES, help="default: all")
    flags.add_argument("--sentences", type=int, default=len(TEXTS), help="default: %(default)s")
    flags.add_argument("--json", type=Path)
    args = flags.parse_args()
    distances = measure(args.checkpoint, args.device, args.stages, args.sentences)
    print(table(distances))
    if args.json:
        args.json.write_text(json.dumps([asdict(one) for one in distances], indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
