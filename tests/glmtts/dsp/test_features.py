from __future__ import annotations

import pytest
import torch

from glmtts.config import MEL_24K, MelConfig
from glmtts.dsp.features import fbank, log_mel, resample
from glmtts.parity.cases import fbank_difference
from tests.helpers.golden import load_case

TOLERANCE = 2e-4


@pytest.mark.parametrize("case", ["mel_24000", "mel_32000"])
def test_log_mel_golden(case: str) -> None:
    """The log-mel equals the published features."""
    info, tensors, _ = load_case(case)
    config = MelConfig(
        info["sample_rate"], info["n_fft"], info["hop"], n_mels=info["n_mels"], fmin=info["fmin"], fmax=info["fmax"]
    )
    torch.testing.assert_close(log_mel(tensors["wav"], config), tensors["mel"], rtol=0, atol=TOLERANCE)


def test_fbank_golden() -> None:
    """The filter banks equal Kaldi's."""
    _, tensors, _ = load_case("campplus")
    waves = sorted(name for name in tensors if name.startswith("wav"))
    assert waves
    for name in waves:
        features, golden = fbank(tensors[name][0]), tensors[name.replace("wav", "fbank")]
        assert fbank_difference(features, golden) <= TOLERANCE
        assert fbank_difference(features.roll(1, 0), golden) > TOLERANCE


def test_log_mel_gives_a_gradient_even_when_first_used_in_inference_mode() -> None:
    """Features are differentiable, even if the caches were filled in inference mode."""
    config = MelConfig(16000, 512, 160, n_mels=7, fmin=50.0)
    with torch.inference_mode():
        log_mel(torch.rand(1, 1600), config)
    wave = torch.rand(1, 1600, requires_grad=True)
    log_mel(wave, config).sum().backward()
    assert wave.grad is not None
    assert wave.grad.abs().sum() > 0


def test_silence_is_the_floor() -> None:
    """Digital silence is finite: the floor of the magnitude in the mel, of the energy in filter banks."""
    assert log_mel(torch.zeros(1, 24000), MEL_24K).isfinite().all()
    assert fbank(torch.zeros(16000)).unique().tolist() == pytest.approx([-15.942385])


def test_too_few_samples_are_named() -> None:
    """A waveform too short for one frame is an error with both lengths."""
    with pytest.raises(ValueError, match="more than 720 samples, got 720"):
        log_mel(torch.zeros(1, 720), MEL_24K)
    with pytest.raises(ValueError, match="at least 400 samples, got 399"):
        fbank(torch.zeros(399))


def test_resampling_keeps_a_tone() -> None:
    """A 440 Hz tone at 44.1 kHz is the same tone at 16 kHz, away from the ends."""
    at_44k, at_16k = (torch.sin(2 * torch.pi * 440 * torch.arange(rate) / rate) for rate in (44100, 16000))
    got = torch.from_numpy(resample(at_44k.numpy(), 44100, 16000))
    assert got.shape == at_16k.shape
    assert got.dtype == torch.float32
    torch.testing.assert_close(got[500:-500], at_16k[500:-500], rtol=0, atol=1e-3)
