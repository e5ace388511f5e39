"""Corrects a waveform towards its target mel: the last step of a vocoder too small to match the mel by itself.

Each frame's spectrum keeps its phases, and its magnitudes are scaled, band by band, by the difference between the
target mel and the actual one. Differentiable, with no learnt parameters.
Dimension names: b batch, m mel bins, t mel frames, s samples, f frequency bins, n window samples.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glmtts.config import MelConfig
from glmtts.dsp.features import log_bands, slaney_bank

MAX_GAIN = 1.0
"""Nats by which a band may be raised or lowered. With 2, speech is as intelligible but sounds worse."""


class MelCorrection(nn.Module):
    """Waveform (b, t × hop) and log mel (b, mels, t) to a waveform of the same shape."""

    window: Tensor
    bank: Tensor
    spread: Tensor

    def __init__(self, config: MelConfig) -> None:
        super().__init__()
        self.n_fft, self.hop = config.n_fft, config.hop
        bank_mf = slaney_bank(config)
        # A frequency's gain is between those of its two bands; outside all bands it is 1.
        peaked_mf = bank_mf / bank_mf.amax(1, keepdim=True)
        self.register_buffer("window", torch.hann_window(config.n_fft), persistent=False)
        self.register_buffer("bank", bank_mf.clone(), persistent=False)
        self.register_buffer("spread", peaked_mf / peaked_mf.sum(0).clamp_min(1e-6), persistent=False)

    @property
    def context_frames(self) -> int:
        """Frames on either side that a sample depends on: half a window to the frame's centre, and half beyond."""
        return self.n_fft // self.hop

    def forward(self, wave_bs: Tensor, mel_bmt: Tensor) -> Tensor:
        frames, edge = mel_bmt.shape[2], (self.n_fft - self.hop) // 2
        # Padded like a mel; a single frame is too short for reflection.
        padded = F.pad(wave_bs[:, None], (edge, edge), "reflect" if wave_bs.shape[1] > edge else "constant")[:, 0]
        spectrum_bft = torch.stft(padded, self.n_fft, self.hop, window=self.window, center=False, return_complex=True)
        error_bmt = mel_bmt - log_bands(spectrum_bft, self.bank)
        gain_bft = (self.spread.T @ error_bmt.clamp(-MAX_GAIN, MAX_GAIN)).exp()
        pieces_bnt = torch.fft.irfft(spectrum_bft * gain_bft, self.n_fft, dim=1) * self.window[:, None]
        summed = self._overlap(pieces_bnt, padded.shape[1])
        weight = self._overlap(self.window.square()[None, :, None].expand(1, -1, frames), padded.shape[1])
        return (summed / weight.clamp_min(1e-6))[:, edge : edge + wave_bs.shape[1]]

    def _overlap(self, pieces_bnt: Tensor, samples: int) -> Tensor:
        """Overlap-add of windows (b, n_fft, t), one every `hop` samples: (b, samples)."""
        return F.fold(pieces_bnt, (1, samples), (1, self.n_fft), stride=(1, self.hop))[:, 0, 0]
