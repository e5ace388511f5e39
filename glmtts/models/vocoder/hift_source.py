"""The HiFT vocoder's excitation: one f0 per frame to harmonics plus noise at the sample rate.

Every sample is a pure function of (f0, seed, sample index, initial phase), so a window of an utterance yields the
samples of the whole utterance there.
Dimension names: b batch, t mel frames, s samples, h harmonics, j samples of a frame.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from glmtts.config import HiFTConfig
from glmtts.models.rng import sample_noise


class HarmonicSource(nn.Module):
    """Harmonic-plus-noise source: `nb_harmonics` + 1 sinusoids and noise, merged by a linear layer and tanh.

    The published code also samples random initial phases, without effect: it adds them to the one sample that its
    down-sampling never reads. There are none here.
    """

    def __init__(self, config: HiFTConfig, hop: int) -> None:
        super().__init__()
        self.config = config
        self.hop = hop
        self.l_linear = nn.Linear(config.nb_harmonics + 1, 1)

    def forward(
        self, f0_bt: Tensor, seeds_b: Tensor, start_sample_b: Tensor, start_phase_b: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Excitation (b, 1, samples) and phase (b, t): see `glmtts.models.vocoder.hift.HiFT.source`."""
        sines_bsh, noise_bs, phase_bt = self.excite(f0_bt, seeds_b, start_sample_b, start_phase_b)
        weight_1h = self.l_linear.weight
        # Each harmonic has its own noise, but independent normals weighted by w sum to one normal weighted by |w|: the
        # same distribution for a ninth of the random numbers, which cost more than the sines.
        merged_bs = self.l_linear(sines_bsh.to(weight_1h.dtype))[:, :, 0] + weight_1h.norm() * noise_bs
        return torch.tanh(merged_bs)[:, None], phase_bt

    @torch.no_grad()
    def excite(
        self, f0_bt: Tensor, seeds_b: Tensor, start_sample_b: Tensor, start_phase_b: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The harmonics (b, samples, harmonics), one harmonic's noise (b, samples), both float32, and the phase (b, t).

        No gradient, as in the published code: through a cumulative phase it is meaningless; f0 has its own targets.
        """
        c = self.config
        turns_bsh, phase_bt = self._turns(f0_bt, start_sample_b == 0, start_phase_b)
        voiced_bs = (f0_bt > c.nsf_voiced_threshold).float().repeat_interleave(self.hop, 1)
        sines_bsh = torch.sin(2.0 * math.pi * turns_bsh) * (c.nsf_alpha * voiced_bs[:, :, None])
        amplitude_bs = voiced_bs * c.nsf_sigma + (1.0 - voiced_bs) * (c.nsf_alpha / 3.0)
        noise_bs = amplitude_bs * sample_noise(seeds_b, start_sample_b, voiced_bs.shape[1])
        return sines_bsh, noise_bs, phase_bt

    def phase(self, f0_bt: Tensor, start_phase_b: Tensor) -> Tensor:
        """The fundamental's phase at each frame's centre (b, t), in turns in [0, 1); `start_phase_b`: a frame earlier.

        float64 and modulo 1: a float32 sum loses the phase of high harmonics within seconds.
        """
        turns_bt = self.hop * self._turns_per_sample(f0_bt, 1)[:, :, 0].double()
        return (start_phase_b[:, None] + torch.cumsum(turns_bt, 1)) % 1.0

    def _turns_per_sample(self, f0_bt: Tensor, harmonics: int) -> Tensor:
        """Turns per sample (b, t, harmonics); frequencies above the sample rate fold, as in the published code."""
        harmonics_h = torch.arange(1, harmonics + 1, device=f0_bt.device)
        return (f0_bt.float()[:, :, None] * harmonics_h / self.config.sampling_rate) % 1.0

    def _turns(self, f0_bt: Tensor, first_b: Tensor, start_phase_b: Tensor) -> tuple[Tensor, Tensor]:
        """Phase in turns, (b, samples, harmonics), and `phase` (b, t).

        The phase is summed once per frame and is linear between frame centres: sample j of frame k is
        d = j + 1/2 − hop/2 samples from the centre, and its rate is that of frame k if d < 0, else of frame k + 1.
        """
        rate_bth = self._turns_per_sample(f0_bt, self.config.nb_harmonics + 1)
        phase_bt = self.phase(f0_bt, start_phase_b)
        harmonics_h = torch.arange(1, rate_bth.shape[2] + 1, device=f0_bt.device)
        centre_bth = (phase_bt[:, :, None] * harmonics_h % 1.0).float()
        before_bth = rate_bth.clone()
        before_bth[:, 0] *= ~first_b[:, None]  # nothing precedes the utterance: hold its phase
        after_bth = torch.cat([rate_bth[:, 1:], torch.zeros_like(rate_bth[:, :1])], 1)
        distance_j1 = torch.arange(self.hop, device=f0_bt.device)[:, None] + 0.5 - self.hop / 2
        turns_btjh = (
            centre_bth[:, :, None]
            + distance_j1.clamp(max=0.0) * before_bth[:, :, None]
            + distance_j1.clamp(min=0.0) * after_bth[:, :, None]
        )
        return turns_btjh.flatten(1, 2), phase_bt
