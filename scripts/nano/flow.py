"""Stage: the flow. Speech tokens to mel, by flow matching with a regression beside it.

    python -m scripts.nano.flow --work nano-work

The text embedding also predicts the mel directly (L1): supervision without noise teaches it sooner than the velocity
does. The mel that the velocity leads to gets a perceptual and an adversarial loss: the best guess by squared error
alone is blurred in time. A training row is a sequence of utterances of one voice, the first part of which is the
prompt, as in serving; in a third of the batches, a short text behind a prompt.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glmtts.config import DiTConfig, FlowConfig
from glmtts.dsp.features import resample
from glmtts.models.encoders.speaker_encoder import CampPlus
from glmtts.models.flow.dit import DiTInputs
from glmtts.models.flow.dit_layers import Attention, FeedForward
from glmtts.models.flow.flow import Flow
from scripts.nano import features, pretrained, tokens
from scripts.nano.data import MEL_MEAN, MEL_STD, RATE, SENTENCE, SHORT, Corpus, Utterance, pools_of, sample_voice, weigh
from scripts.nano.discriminators import Discriminators, adversarial_losses, mel_discriminators
from scripts.nano.phone_perceptual import PhoneRecognizer, load_trained, perceptual_loss
from scripts.nano.training import (
    Average,
    Run,
    add_dropout,
    arguments,
    averaged,
    configure_torch,
    cosine,
    mixed_precision,
    with_learning_rate,
)

CONFIG = FlowConfig(
    dit=DiTConfig(
        trans_dim=256,
        depth=8,
        heads=4,
        dim_head=64,
        ff_mult=2,
        text_emb_dim=256,
        conv_layers=4,
        text_vocab_size=features.CODES,
        time_dim=32,
    ),
    n_timesteps=1,
    inference_cfg_rate=0.0,
)
SHAPES = ((6, 200), (4, 300), (3, 420), (2, 640), (1, 1100))  # rows × frames: about equal work
SPEAKER_SAMPLES = 24
MAX_COUNTED_SECONDS = 400.0  # of a voice; low, because many voices teach the flow to take the voice from the prompt
VELOCITY_WEIGHT, PERCEPTUAL_WEIGHT, ADVERSARIAL_WEIGHT = 0.5, 1.0, 0.5
START_SHARE = 0.9
NO_PROMPT_SHARE = 0.3  # of rows of sentences
SHORT_SHARE = 0.3  # of batches
DROPOUT = 0.1


class Rows(NamedTuple):
    """mel (b, t, 80), tokens per frame (b, t), frames of prompt (b,), speaker vectors (b, 192)."""

    mel: Tensor
    tokens: Tensor
    prompt: Tensor
    speaker: Tensor


class Row(NamedTuple):
    """mel (t, 80), tokens per frame (t,), frames of prompt."""

    mel: Tensor
    tokens: Tensor
    prompt: int


def new_flow() -> Flow:
    """Initial weights: adaLN-zero, and a velocity that starts at the mean mel."""
    torch.manual_seed(0)
    flow = Flow(CONFIG)
    flow.estimator.reset_parameters()
    nn.init.constant_(flow.estimator.proj_out.bias, MEL_MEAN)
    return flow


def load_trained_flow(work: Path) -> Flow:
    """The trained one, with averaged weights, for inference."""
    flow = new_flow()
    flow.load_state_dict(averaged(work, "flow", flow))
    return flow.eval()


class Regression(nn.Module):
    """Predicts the mel from the text embedding and the speaker; not exported."""

    def __init__(self) -> None:
        super().__init__()
        self.speaker = nn.Linear(192, 256)
        self.hidden = nn.Linear(256, 256)
        self.mel = nn.Linear(256, 80)

    def forward(self, trunk_btd: Tensor, spk_bd: Tensor) -> Tensor:
        out: Tensor = self.mel(F.gelu(self.hidden(trunk_btd) + self.speaker(spk_bd)[:, None]))
        return out


@torch.inference_mode()
def speaker_vectors(work: Path, utterances: list[Utterance]) -> dict[str, Tensor]:
    """Normalised CAM++ embeddings (k, 192) of some utterances of each voice; cached in speakers.pt."""
    cache = work / "speakers.pt"
    pools: dict[str, list[Utterance]] = {}
    for utterance in utterances:
        pools.setdefault(utterance.voice, []).append(utterance)
    known: dict[str, Tensor] = torch.load(cache, weights_only=True) if cache.exists() else {}
    missing = sorted(set(pools) - set(known))
    if missing:
        encoder = CampPlus().eval()
        encoder.load_state_dict(torch.load(pretrained.campplus(work), weights_only=True))
        for voice in missing:
            rows = pools[voice][:: max(len(pools[voice]) // SPEAKER_SAMPLES, 1)]
            waves = [torch.from_numpy(resample(u.wave(), RATE, 16000)) for u in rows]
            known[voice] = F.normalize(torch.stack([encoder.embed(wave) for wave in waves]), dim=-1)
        torch.save(known, cache)
    return {voice: known[voice].clone() for voice in pools}


def frames_of(work: Path, utterance: Utterance) -> tuple[Tensor, Tensor]:
    """Mel (t, 80) and tokens (t,) of an utterance, in frames."""
    with np.load(tokens.path_of(work, utterance)) as arrays:
        ids = torch.from_numpy(arrays["ids"].astype(np.int64)).repeat_interleave(2)
    return torch.from_numpy(features.load(work, utterance)["mel"])[: len(ids)], ids


def sentence_row(work: Path, utterances: Iterator[Utterance], frames: int, rng: np.random.Generator) -> Row:
    """A piece of a sequence of utterances; some have no prompt."""
    parts: list[tuple[Tensor, Tensor]] = []
    while (have := sum(len(ids) for _, ids in parts)) < frames:
        parts.append(frames_of(work, next(utterances)))
    first = int(rng.integers(0, have - frames + 1))
    mel, ids = (torch.cat(column)[first : first + frames] for column in zip(*parts, strict=True))
    return Row(mel, ids, 0 if rng.random() < NO_PROMPT_SHARE else int(frames * rng.uniform(0.1, 0.6)))


def short_row(work: Path, short: Utterance, utterances: Iterator[Utterance], frames: int) -> Row:
    """A short text, and utterances of its voice in front of it as the prompt."""
    parts = [frames_of(work, short)]
    spoken = len(parts[0][1])
    while sum(len(ids) for _, ids in parts) < frames:
        parts.insert(0, frames_of(work, next(utterances)))
    mel, ids = (torch.cat(column)[-frames:] for column in zip(*parts, strict=True))
    return Row(mel, ids, max(frames - spoken, 0))


class RowSampler:
    """Samples batches of rows of one kind and length: short texts behind a prompt, or pieces of sentences."""

    def __init__(self, work: Path, utterances: list[Utterance]) -> None:
        self._work = work
        self._sentences = pools_of(u for u in utterances if u.kind == SENTENCE)
        self._short = pools_of(u for u in utterances if u.kind == SHORT)
        spoken = {key: pool for key, pool in self._sentences.items() if key in self._short}
        self._weights = weigh(self._sentences, MAX_COUNTED_SECONDS)
        self._speakers = speaker_vectors(work, utterances)
        self._with_short, self._short_weights = spoken, weigh(spoken, MAX_COUNTED_SECONDS)

    def sample(self, rng: np.random.Generator) -> Rows:
        """A batch. Short texts take the shortest rows: what precedes them teaches nothing."""
        short = bool(self._short) and rng.random() < SHORT_SHARE
        batch, frames = SHAPES[0 if short else int(rng.integers(len(SHAPES)))]
        rows = [self._row(frames, rng, short=short) for _ in range(batch)]
        mel, ids, prompt, speaker = zip(*[(*row, speaker) for row, speaker in rows], strict=True)
        return Rows(torch.stack(mel), torch.stack(ids), torch.tensor(prompt), torch.stack(speaker))

    def _row(self, frames: int, rng: np.random.Generator, *, short: bool) -> tuple[Row, Tensor]:
        pools, weights = (self._with_short, self._short_weights) if short else (self._sentences, self._weights)
        utterances = sample_voice(pools, weights, rng)
        first = next(utterances)
        speakers = self._speakers[first.voice]
        speaker = speakers[int(rng.integers(len(speakers)))]
        utterances = chain([first], utterances)
        if not short:
            return sentence_row(self._work, utterances, frames, rng), speaker
        pool = self._short[first.voice, first.lang]
        return short_row(self._work, pool[int(rng.integers(len(pool)))], utterances, frames), speaker


def losses(
    flow: Flow,
    regression: Regression,
    recognizer: PhoneRecognizer | None,
    discriminators: Discriminators | None,
    rows: Rows,
) -> dict[str, Tensor]:
    """Squared error of the velocity x₁ − x₀ at x_t = (1 − t)·x₀ + t·x₁ (Lipman et al. 2023), and the regression's L1.

    `perceptual`: of the mel that the velocity leads to, x_t + (1 − t)·v. The discriminators see the frames after the
    longest prompt of the batch.
    """
    batch, frames, _ = rows.mel.shape
    spoken = torch.arange(frames)[None] >= rows.prompt[:, None]
    condition = rows.mel * ~spoken[..., None]
    noise = torch.randn_like(rows.mel)
    # The density of the solver's times, 1 − cos(u·π/2); but mostly 0, the only time of a single step.
    time = 1 - torch.cos(torch.rand(batch) * torch.pi / 2)
    time = torch.where(torch.rand(batch) < START_SHARE, 0.0, time)
    mixed = torch.lerp(noise, rows.mel, time[:, None, None])
    trunk = flow.estimator.text_emb_layer(rows.tokens)
    velocity = flow.estimator(DiTInputs(mixed, trunk, condition, time, rows.speaker)).velocity_btm
    reached = torch.where(spoken[..., None], mixed + (1 - time[:, None, None]) * velocity, rows.mel)
    guess = regression(trunk, rows.speaker)
    made, true = ((mel[:, int(rows.prompt.max()) :].float() - MEL_MEAN) / MEL_STD for mel in (reached, rows.mel))
    parts: dict[str, Tensor] = {}
    if discriminators is not None:
        parts = adversarial_losses(discriminators, made, true, adversarial=ADVERSARIAL_WEIGHT)
    if recognizer is not None:
        parts["perceptual"] = PERCEPTUAL_WEIGHT * perceptual_loss(recognizer, reached, rows.mel)
    return parts | {
        "velocity": VELOCITY_WEIGHT * (velocity - (rows.mel - noise))[spoken].square().mean() / MEL_STD**2,
        "trunk": (guess - (rows.mel - MEL_MEAN) / MEL_STD).abs().mean(),
    }


def main() -> None:
    parser = with_learning_rate(arguments(__doc__, steps=15000), 8e-4)
    parser.add_argument("--adversarial-from", type=int, default=10000, help="step at which the discriminators join")
    args = parser.parse_args()
    configure_torch(args)
    flow, regression, discriminators = new_flow(), Regression(), mel_discriminators()
    average = Average(flow, 0.999)
    add_dropout((m for m in flow.estimator.modules() if isinstance(m, Attention | FeedForward)), DROPOUT)
    groups = [{"params": [*flow.parameters(), *regression.parameters()]}, {"params": discriminators.parameters()}]
    optimizer = torch.optim.AdamW(groups, betas=(0.8, 0.99), weight_decay=0.01, fused=True)
    sampler = RowSampler(
        args.work, tokens.tokenised(args.work, Corpus(args.work, args.extra).train(rooms=True, short=True))
    )
    recognizer = load_trained(args.work)
    modules = {"flow": flow, "regression": regression, "average": average, "discriminators": discriminators}
    run = Run(args.work, "flow", modules, optimizer, args.steps)
    precision = mixed_precision()
    for step, rng in run:
        rows = sampler.sample(rng)
        with precision:
            joined = discriminators if step >= args.adversarial_from else None
            parts = losses(flow, regression, recognizer, joined, rows)
        run.optimize(torch.stack(list(parts.values())).sum(), cosine(step, args.steps, args.rate))
        average.update(flow, step)
        run.show(**parts)


if __name__ == "__main__":
    main()
