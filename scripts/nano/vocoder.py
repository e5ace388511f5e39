"""Stage: the vocoder. Mel to waveform, a small HiFT: by spectral losses, then against discriminators as well.

    python -m scripts.nano.vocoder --work nano-work

Spectral losses alone leave a buzz that no recogniser minds and every listener hears. Until the discriminators come the
source gets the true F0 half of the time, so that the generator does not wait for the F0 predictor; then the predicted
one alone, as in serving. Half of the mels are the flow's, where there are such (stage resynthesised_mels).
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
from scripts.nano.discriminators import RESOLUTIONS, adversarial_losses, of_waves
from scripts.nano.phone_perceptual import Ear, heard_apart, load_trained
from scripts.nano.training import Average, Run, arguments, cosine, start, with_rate

# Two kernels instead of three, shorter source blocks: two thirds of the work at nearly the same sound. Thrice the
# harmonics: so small a generator cannot invent those that its source lacks, and left noise above 3 kHz. The highest
# of a voice of 480 Hz lies at half the sample rate.
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
MEL_WEIGHT = 2.0  # what the correction leaves to be done
HEARD_WEIGHT = 4.0
ALIKE_WEIGHT = 2.0
FRAMES = 30
BATCH, JUDGED = 6, 3  # crops in a batch; so many of them are shown to the discriminators, which cost more than the rest


def new_vocoder() -> HiFT:
    """Fresh weights; the F0 predictor starts near a speaking voice, the source as a train of pulses."""
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
    """Windows of FRAMES frames: waveform (b, FRAMES × HOP), mel and the mel that is given (b, 80, FRAMES), F0 in Hz."""

    wave: Tensor
    mel: Tensor
    given: Tensor
    f0: Tensor


def crop(work: Path, utterance: Utterance, rng: np.random.Generator, margin: int = 2) -> Crop:
    """One window (without b), each part with its true surroundings; the flow's mel is given where there is one."""
    frames = utterance.samples // HOP
    first = int(rng.integers(0, max(frames - FRAMES - 2 * margin, 1)))
    wave = utterance.wave(first * HOP, min(FRAMES + 2 * margin, frames - first) * HOP)
    wave = np.pad(wave, (0, (FRAMES + 2 * margin) * HOP - len(wave)))
    inner = slice(margin, margin + FRAMES)
    mel = log_mel(torch.from_numpy(wave)[None], MEL_24K)[0, :, inner]
    given = mel
    if resynthesised_mels.path_of(work, utterance).exists():
        flowed = torch.from_numpy(resynthesised_mels.load(work, utterance)[first:][inner].T)
        given = torch.cat([flowed, mel[:, flowed.shape[1] :]], 1)
    f0 = torch.from_numpy(f0_track(wave))[inner]
    return Crop(torch.from_numpy(wave[margin * HOP : (margin + FRAMES) * HOP]), mel, given, f0)


def losses(
    vocoder: HiFT, ear: Ear, true: Crop, rng: np.random.Generator, *, told: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """The batch's sound, and its named losses. `told`: how often the source gets the true F0."""
    guess = vocoder.f0(true.given)
    pitch = true.f0 if rng.random() < told else guess.detach()
    seeds = torch.from_numpy(rng.integers(0, 2**31, len(true.wave)))
    made = vocoder.decode(true.given, vocoder.source(pitch, seeds)[0])
    mel = log_mel(made, MEL_24K)
    return made, {
        "stft": 2.0 * spectral_loss(made, true.wave),
        "mel": MEL_WEIGHT * (mel - true.mel).abs().mean(),
        "heard": HEARD_WEIGHT * heard_apart(ear, mel.mT, true.mel.mT),
        "f0": F.smooth_l1_loss(guess, true.f0, beta=10.0) / 5.0,
    }


def main() -> None:
    parser = with_rate(arguments(__doc__, steps=10000), 1e-3)
    parser.add_argument("--adversarial-from", type=int, default=6000, help="the step from which discriminators join")
    args = parser.parse_args()
    start(args)
    vocoder, discriminators = new_vocoder(), of_waves()
    ear = load_trained(args.work)
    average = Average(vocoder, 0.999)
    groups = [{"params": vocoder.parameters()}, {"params": discriminators.parameters()}]
    optimizer = torch.optim.AdamW(groups, betas=(0.8, 0.99), fused=True)
    modules = {"vocoder": vocoder, "average": average, "discriminators": discriminators}
    corpus = Corpus(args.work, args.extra).train()
    run = Run(args.work, "vocoder", modules, optimizer, args.steps)
    languages = {lang: [u for u in corpus if u.lang == lang] for lang in ("en", "zh")}
    # Both languages weigh the same, however much of each has been spoken so far; as do recorded and remade mels.
    pools = list(languages.values())
    pools += [[u for u in pool if resynthesised_mels.path_of(args.work, u).exists()] or pool for pool in pools]
    for step, rng in run:
        drawn = [pools[i % len(pools)] for i in range(step % len(pools), step % len(pools) + BATCH)]
        crops = [crop(args.work, pool[int(rng.integers(len(pool)))], rng) for pool in drawn]
        true = Crop(*(torch.stack(list(column)) for column in zip(*crops, strict=True)))
        adversarial = step >= args.adversarial_from
        made, parts = losses(vocoder, ear, true, rng, told=0.0 if adversarial else 0.5)
        if adversarial:
            parts |= adversarial_losses(discriminators, made[:JUDGED], true.wave[:JUDGED], alike=ALIKE_WEIGHT)
        run.descend(torch.stack(list(parts.values())).sum(), cosine(step, args.steps, args.rate), clip=5.0)
        average.update(vocoder, step)
        run.show(**parts)


if __name__ == "__main__":
    main()
