"""The correction of a waveform towards its mel."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from glmtts.config import MEL_24K, MEL_32K, MelConfig
from glmtts.dsp.features import log_mel
from glmtts.models.vocoder.mel_correction import MAX_GAIN, MelCorrection

both_rates = pytest.mark.parametrize("config", [MEL_24K, MEL_32K], ids=["24 kHz", "32 kHz"])


def hiss(config: MelConfig, frames: int) -> Tensor:
    """Two waveforms of noise of varying loudness: (2, frames × hop)."""
    torch.manual_seed(3)
    samples = frames * config.hop
    return 0.1 * torch.randn(2, samples) * (1.5 + torch.sin(torch.arange(samples) / (3 * config.hop)))


@both_rates
def test_each_correction_reduces_the_error(config: MelConfig) -> None:
    """If bands are off by about half a nat, one correction removes most of it, and three remove more."""
    correction, wave = MelCorrection(config), hiss(config, 40)
    wanted = log_mel(wave, config) + 0.5 * torch.randn(2, config.n_mels, 1)
    distances = []
    for _ in range(4):
        distances.append((log_mel(wave, config) - wanted).abs().mean().item())
        wave = correction(wave, wanted)
    assert distances[1] < 0.6 * distances[0]
    assert distances[3] < 0.8 * distances[1]


@both_rates
def test_a_waveform_with_its_own_mel_is_unchanged(config: MelConfig) -> None:
    wave = hiss(config, 20)
    torch.testing.assert_close(MelCorrection(config)(wave, log_mel(wave, config)), wave, rtol=0, atol=1e-4)


def test_gain_is_limited_and_silence_unchanged() -> None:
    correction, wave = MelCorrection(MEL_24K), hiss(MEL_24K, 20)
    wanted = log_mel(wave, MEL_24K) + 10.0
    louder = correction(wave, wanted)[:, 4 * MEL_24K.hop : -4 * MEL_24K.hop].std() / wave.std()
    assert louder.log() < MAX_GAIN + 0.1
    assert torch.equal(correction(torch.zeros_like(wave), wanted), torch.zeros_like(wave))


def test_one_frame_is_enough() -> None:
    wave = hiss(MEL_24K, 1)
    assert MelCorrection(MEL_24K)(wave, torch.zeros(2, 80, 1)).shape == wave.shape
