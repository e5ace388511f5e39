"""Discriminators for training: of waveforms by period and by spectrum for the vocoder, of mels for the flow.

They have a tenth of the channels of the published ones, so that a step on one core takes about a second.
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
"""The outputs of every layer of every discriminator; the last of each is its score, 1 for real."""


class Layers(nn.Module):
    """Convolutions with leaky activations; returns the output of each."""

    def __init__(self, convolutions: list[nn.Conv2d]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(weight_norm(layer) for layer in convolutions)

    def forward(self, x: Tensor) -> list[Tensor]:
        outputs = []
        for i, layer in enumerate(self.layers):
            x = layer(x)
            outputs.append(x)
            if i + 1 < len(self.layers):
                x = F.leaky_relu(x, SLOPE)
        return outputs


class PeriodDiscriminator(nn.Module):
    """Samples folded by a period p, so that a column is every p-th sample (Kong et al. 2020, HiFi-GAN)."""

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
        convolutions = [nn.Conv2d(a, b, size, step, (size[0] // 2, 1)) for a, b, size, step in shapes]
        self.layers = Layers([*convolutions, nn.Conv2d(16, 1, (3, 3), 1, 1)])

    def forward(self, wave_bn: Tensor) -> list[Tensor]:
        spectrum = torch.stft(wave_bn, self.n_fft, self.hop, window=self.window, return_complex=True)
        return list(self.layers(spectrum.abs().clamp_min(1e-5).log()[:, None]))


class Discriminators(nn.Module):
    """Several discriminators of the same input."""

    def __init__(self, *members: nn.Module) -> None:
        super().__init__()
        self.all = nn.ModuleList(members)

    def forward(self, x: Tensor) -> Features:
        return [one(x) for one in self.all]


def wave_discriminators() -> Discriminators:
    """By period and by spectrum."""
    torch.manual_seed(1)
    return Discriminators(*map(PeriodDiscriminator, PERIODS), *(SpectrumDiscriminator(*size) for size in RESOLUTIONS))


class MelDiscriminator(nn.Module):
    """Normalised mels (b, t, 80) as images; `time_stride` is that of three of its layers."""

    def __init__(self, time_stride: int) -> None:
        super().__init__()
        strides = ((2, 1), (2, time_stride), (2, time_stride), (2, time_stride), (1, 1))
        widths = pairwise((1, 16, 32, 48, 64, 64))
        convolutions = [nn.Conv2d(a, b, (5, 3), stride, (2, 1)) for (a, b), stride in zip(widths, strides, strict=True)]
        self.layers = Layers([*convolutions, nn.Conv2d(64, 1, (5, 3), 1, (2, 1))])

    def forward(self, mel_btm: Tensor) -> list[Tensor]:
        return list(self.layers(mel_btm.mT[:, None]))


def mel_discriminators() -> Discriminators:
    """One with the time resolution of frames, one with that of syllables."""
    torch.manual_seed(1)
    return Discriminators(*map(MelDiscriminator, (1, 2)))


def adversarial_losses(
    discriminators: Discriminators, made: Tensor, true: Tensor, *, adversarial: float = 1.0, matching: float = 1.0
) -> dict[str, Tensor]:
    """Least-squares GAN losses (Mao et al. 2017) of generated and true inputs, each a mean over the discriminators.

    `discriminator`: squared error of the scores against 0 and 1; its gradient reaches only the discriminators.
    `adversarial`: squared error of the generated inputs' scores against 1. `feature_matching`: distance of the layers'
    outputs to those of the true inputs, relative to these. Both are multiplied by their weights `adversarial` and
    `matching`, and their gradients reach only the generator.
    """
    both = discriminators(torch.cat([made.detach(), true]))
    n = len(made)
    separation = [layers[-1][:n].square().mean() + (layers[-1][n:] - 1).square().mean() for layers in both]
    frozen = {name: p.detach() for name, p in discriminators.named_parameters()}
    generated: Features = functional_call(discriminators, frozen, (made,))
    errors = [(layers[-1] - 1).square().mean() for layers in generated]
    distances = [
        (a - b[n:].detach()).abs().mean() / b[n:].detach().abs().mean().clamp_min(1e-3)
        for made_layers, both_layers in zip(generated, both, strict=True)
        for a, b in zip(made_layers[:-1], both_layers[:-1], strict=True)
    ]
    return {
        "discriminator": torch.stack(separation).mean(),
        "adversarial": adversarial * torch.stack(errors).mean(),
        "feature_matching": matching * torch.stack(distances).mean(),
    }
