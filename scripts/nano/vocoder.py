"""Stage: the vocoder, a small HiFT from mel to waveform. Trained with spectral losses, then adversarially as well.

    python -m scripts.nano.vocoder --work nano-work

Spectral losses alone leave a buzz that recognisers ignore and every listener hears. Before the discriminators join, the
source gets the true F0 half of the time, so that the generator does not depend on an untrained F0 predictor; after that
it gets the predicted F0, as in serving. Half of the mels are the flow's, if there are any (stage resynthesised_mels).
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from glmtts.config import MEL_24K, HiFTConfig
from glmtts.dsp.features import log_mel
from glmtts.models.vocoder.hift import HiFT
from scripts.nano import resynthesised_mels
from scripts.nano.data import HOP, Corpus, Utterance, f0_track
from scripts.nano.discriminators import RESOLUTIONS, adversarial_losses, wave_discriminators
from scripts.nano.phone_perceptual import PhoneRecognizer, load_trained, perceptual_loss
from scripts.nano.training import Average, Run, arguments, configure_torch, cosine, with_learning_rate

# Two kernels instead of three, and shorter source blocks, save a third of the work and sound nearly the same. With only
# the published number of harmonics so small a generator leaves noise above 3 kHz; of 24, the highest of a voice at
# 480 Hz lies at half the sample rate.
CONFIG = HiFTConfig(
    base_channels=128,
    nb_harmonics=24,
    f0_cond_channels=128,
    resblock_kernel_sizes=(3, 7),
    resblock_dilation_sizes=((1, 3, 5), (1, 3, 5)),
    source_resblock_kernel_sizes=(7, 7, 7),
    source_resblock_dilation_sizes=((1, 3), (1, 3), (1, 3)),
    mel_corrections=1,
)
SOURCE_WEIGHT = 0.2
MEL_WEIGHT = 2.0
PERCEPTUAL_WEIGHT = 4.0
FEATURE_MATCHING_WEIGHT = 2.0
FRAMES = 30
BATCH, ADVERSARIAL_BATCH = 6, 3  # crops; the discriminators, which cost more than the rest, see only some of them


def new_vocoder() -> HiFT:
    """Initial weights: the F0 predictor starts near a speaking voice, the source as a pulse train."""
    torch.manual_seed(0)
    vocoder = HiFT(CONFIG)
    with torch.no_grad():
        vocoder.m_source.l_linear.weight.fill_(SOURCE_WEIGHT)
        vocoder.f0_predictor.classifier.weight.mul_(40.0)
        vocoder.f0_predictor.classifier.bias.fill_(80.0)
    return vocoder


def spectral_loss(made: Tensor, true: Tensor) -> Tensor:
    """Multi-resolution STFT loss: spectral convergence + log magnitude (Yamamoto et al. 2020)."""
    total = made.new_zeros(())
    for n_fft, hop in RESOLUTIONS:
        window = torch.hann_window(n_fft)
        a, b = (
            torch.stft(w, n_fft, hop, window=window, return_complex=True).abs().clamp_min(1e-5) for w in (made, true)
        )
        total = total + (a - b).norm() / b.norm() + (a.log() - b.log()).abs().mean()
    return total / len(RESOLUTIONS)


class Crop(NamedTuple):
    """Windows of FRAMES frames: waveform (b, FRAMES × HOP), true and input mel (b, 80, FRAMES), F0 in Hz."""

    wave: Tensor
    mel: Tensor
    input_mel: Tensor
    f0: Tensor


def crop(work: Path, utterance: Utterance, rng: np.random.Generator, margin: int = 2) -> Crop:
    """A random window (without b). Mel and F0 are computed with `margin` frames around it; the input mel is the flow's
    if there is one.
    """
    frames = utterance.samples // HOP
    first = int(rng.integers(0, max(frames - FRAMES - 2 * margin, 1)))
    wave = utterance.wave(first * HOP, min(FRAMES + 2 * margin, frames - first) * HOP)
    wave = np.pad(wave, (0, (FRAMES + 2 * margin) * HOP - len(wave)))
    inner = slice(margin, margin + FRAMES)
    mel = log_mel(torch.from_numpy(wave)[None], MEL_24K)[0, :, inner]
    input_mel = mel
    if resynthesised_mels.path_of(work, utterance).exists():
        resynthesised = torch.from_numpy(resynthesised_mels.load(work, utterance)[first:][inner].T)
        input_mel = torch.cat([resynthesised, mel[:, resynthesised.shape[1] :]], 1)
    f0 = torch.from_numpy(f0_track(wave))[inner]
    return Crop(torch.from_numpy(wave[margin * HOP : (margin + FRAMES) * HOP]), mel, input_mel, f0)


def losses(
    vocoder: HiFT, recognizer: PhoneRecognizer | None, true: Crop, rng: np.random.Generator, *, true_f0_share: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """The batch's waveforms (b, n), and its losses. `true_f0_share`: how often the source gets the true F0."""
    predicted_f0 = vocoder.f0(true.input_mel)
    pitch = true.f0 if rng.random() < true_f0_share else predicted_f0.detach()
    seeds = torch.from_numpy(rng.integers(0, 2**31, len(true.wave)))
    made = vocoder.decode(true.input_mel, vocoder.source(pitch, seeds)[0])
    mel = log_mel(made, MEL_24K)
    parts = {
        "stft": 2.0 * spectral_loss(made, true.wave),
        "mel": MEL_WEIGHT * (mel - true.mel).abs().mean(),
        "f0": F.smooth_l1_loss(predicted_f0, true.f0, beta=10.0) / 5.0,
    }
    if recognizer is not None:
        parts["perceptual"] = PERCEPTUAL_WEIGHT * perceptual_loss(recognizer, mel.mT, true.mel.mT)
    return made, parts


def main() -> None:
    parser = with_learning_rate(arguments(__doc__, steps=10000), 1e-3)
    parser.add_argument("--adversarial-from", type=int, default=6000, help="step at which the discriminators join")
    args = parser.parse_args()
    configure_torch(args)
    vocoder, discriminators = new_vocoder(), wave_discriminators()
    recognizer = load_trained(args.work)
    average = Average(vocoder, 0.999)
    groups = [{"params": vocoder.parameters()}, {"params": discriminators.parameters()}]
    optimizer = torch.optim.AdamW(groups, betas=(0.8, 0.99), fused=True)
    modules = {"vocoder": vocoder, "average": average, "discriminators": discriminators}
    corpus = Corpus(args.work, args.extra).train()
    run = Run(args.work, "vocoder", modules, optimizer, args.steps)
    languages = {lang: [u for u in corpus if u.lang == lang] for lang in ("en", "zh")}
    # Both languages have the same weight, however long their corpora are; so do recorded and resynthesised mels.
    pools = list(languages.values())
    pools += [[u for u in pool if resynthesised_mels.path_of(args.work, u).exists()] or pool for pool in pools]
    for step, rng in run:
        turns = [pools[i % len(pools)] for i in range(step % len(pools), step % len(pools) + BATCH)]
        crops = [crop(args.work, pool[int(rng.integers(len(pool)))], rng) for pool in turns]
        true = Crop(*(torch.stack(list(column)) for column in zip(*crops, strict=True)))
        adversarial = step >= args.adversarial_from
        made, parts = losses(vocoder, recognizer, true, rng, true_f0_share=0.0 if adversarial else 0.5)
        if adversarial:
            pair = made[:ADVERSARIAL_BATCH], true.wave[:ADVERSARIAL_BATCH]
            parts |= adversarial_losses(discriminators, *pair, matching=FEATURE_MATCHING_WEIGHT)
        run.optimize(torch.stack(list(parts.values())).sum(), cosine(step, args.steps, args.rate), clip=5.0)
        average.update(vocoder, step)
        run.show(**parts)


if __name__ == "__main__":
    main()
