"""Discriminators for training: the vocoder's look at periods of samples and at spectrograms, the flow's at mels.

Smaller than the published ones (a tenth of their channels), so that a step on one core stays near a second.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

PERIODS = (2, 3, 5, 7, 11)
RESOLUTIONS = ((512, 128), (1024, 256), (2048, 512))
SLOPE = 0.1
Features = list[list[Tensor]]
"""What every layer of every discriminator sees; the last of each is its score, towards 1 for real sound."""


class Layers(nn.Module):
    """Convolutions with leaky activations; gives what comes out of each."""

    def __init__(self, convolutions: list[nn.Conv2d]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(weight_norm(layer) for layer in convolutions)

    def forward(self, x: Tensor) -> list[Tensor]:
        seen = []
        for i, layer in enumerate(self.layers):
            x = layer(x)
            seen.append(x)
            if i + 1 < len(self.layers):
                x = F.leaky_relu(x, SLOPE)
        return seen


class PeriodDiscriminator(nn.Module):
    """Samples folded by a period, so that a column is every p-th sample (Kong et al. 2020, HiFi-GAN)."""

    def __init__(self, period: int) -> None:
        super().__init__()
        self.period = period
        widths = (1, 12, 24, 48, 96)
        folded = [nn.Conv2d(a, b, (5, 1), (3, 1), (2, 0)) for a, b in pairwise(widths)]
        self.layers = Layers([*folded, nn.Conv2d(96, 96, (5, 1), 1, (2, 0)), nn.Conv2d(96, 1, (3, 1), 1, (1, 0))])

    def forward(self, wave_bn: Tensor) -> list[Tensor]:
        wave = F.pad(wave_bn, (0, -wave_bn.shape[1] % self.period), "reflect")
        return list(self.layers(wave.view(len(wave), 1, -1, self.period)))


class SpectrumDiscriminator(nn.Module):
    """Log magnitudes at one resolution (after Jang et al. 2021, UnivNet)."""

    def __init__(self, n_fft: int, hop: int) -> None:
        super().__init__()
        self.n_fft, self.hop = n_fft, hop
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        shapes = ((1, 8, (9, 3), (2, 1)), (8, 16, (9, 3), (2, 1)), (16, 16, (9, 3), (2, 1)), (16, 16, (3, 3), (1, 1)))
        looking = [nn.Conv2d(a, b, size, step, (size[0] // 2, 1)) for a, b, size, step in shapes]
        self.layers = Layers([*looking, nn.Conv2d(16, 1, (3, 3), 1, 1)])

    def forward(self, wave_bn: Tensor) -> list[Tensor]:
        spectrum = torch.stft(wave_bn, self.n_fft, self.hop, window=self.window, return_complex=True)
        return list(self.layers(spectrum.abs().clamp_min(1e-5).log()[:, None]))


class Discriminators(nn.Module):
    """Several that look at the same."""

    def __init__(self, *members: nn.Module) -> None:
        super().__init__()
        self.all = nn.ModuleList(members)

    def forward(self, x: Tensor) -> Features:
        return [one(x) for one in self.all]


def of_waves() -> Discriminators:
    """By periods and by spectra."""
    torch.manual_seed(1)
    return Discriminators(*map(PeriodDiscriminator, PERIODS), *(SpectrumDiscriminator(*size) for size in RESOLUTIONS))


class MelDiscriminator(nn.Module):
    """Normalised mels (b, t, 80) as pictures; `pace` is by how much each of three layers shortens them in time."""

    def __init__(self, pace: int) -> None:
        super().__init__()
        shapes = ((1, 16, 2, 1), (16, 32, 2, pace), (32, 48, 2, pace), (48, 64, 2, pace), (64, 64, 1, 1))
        looking = [nn.Conv2d(a, b, (5, 3), (low, slow), (2, 1)) for a, b, low, slow in shapes]
        self.layers = Layers([*looking, nn.Conv2d(64, 1, (5, 3), 1, (2, 1))])

    def forward(self, mel_btm: Tensor) -> list[Tensor]:
        return list(self.layers(mel_btm.mT[:, None]))


def of_mels() -> Discriminators:
    """One that sees single frames, one that sees a syllable."""
    torch.manual_seed(1)
    return Discriminators(*map(MelDiscriminator, (1, 2)))


def adversarial_losses(
    discriminators: Discriminators, made: Tensor, true: Tensor, *, fooled: float = 1.0, alike: float = 1.0
) -> dict[str, Tensor]:
    """Losses of a batch of what the discriminators take, waveforms or mels, each a mean over the discriminators.

    `told_apart`: squared error of the scores, 1 for what is true, 0 for what is made (Mao et al. 2017); its gradient
    reaches the discriminators alone. `fooled` and `alike`, the score of what is made against 1 and its distance to the
    true one in what the layers see, relative to that, each by its weight: their gradients reach its maker alone.
    """
    both = discriminators(torch.cat([made.detach(), true]))
    n = len(made)
    told_apart = [seen[-1][:n].square().mean() + (seen[-1][n:] - 1).square().mean() for seen in both]
    frozen = {name: p.detach() for name, p in discriminators.named_parameters()}
    views: Features = functional_call(discriminators, frozen, (made,))
    fooling = [(seen[-1] - 1).square().mean() for seen in views]
    apart = [
        (a - b[n:].detach()).abs().mean() / b[n:].detach().abs().mean().clamp_min(1e-3)
        for view, whole in zip(views, both, strict=True)
        for a, b in zip(view[:-1], whole[:-1], strict=True)
    ]
    return {
        "told_apart": torch.stack(told_apart).mean(),
        "fooled": fooled * torch.stack(fooling).mean(),
        "alike": alike * torch.stack(apart).mean(),
    }
