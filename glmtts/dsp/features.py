"""Spectral features: log-mel for the flow's prompt, Kaldi filter banks for the speaker encoder.

Waveforms are in [-1, 1]; features are float32 and differentiable.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import soxr
import torch
from torch import Tensor
from torch.nn import functional as F

from glmtts.config import MelConfig
from glmtts.dsp.audio import VOICE_RATE, Wave

MAGNITUDE_FLOOR = 1e-9
LOG_FLOOR = 1e-5

FBANK_BINS = 80
FBANK_WINDOW = VOICE_RATE * 25 // 1000
FBANK_SHIFT = VOICE_RATE * 10 // 1000
FBANK_N_FFT = 512
FBANK_LOW_HZ = 20.0
FBANK_PREEMPHASIS = 0.97


def resample(wave: Wave, from_rate: int, to_rate: int) -> Wave:
    """Band-limited resampling (soxr HQ) of a mono waveform (samples,) between rates in Hz."""
    if from_rate == to_rate:
        return wave
    return np.asarray(soxr.resample(wave, from_rate, to_rate), dtype=np.float32)


def log_mel(wave_bs: Tensor, config: MelConfig) -> Tensor:
    """Natural-log mel magnitudes (b, mels, s // hop) of waveforms (b, s) at `config.sample_rate`.

    As in the published code: ln(max(mel · sqrt(re² + im² + 1e-9), 1e-5)) with a Hann window. Padded by reflection, not
    centred: frame i is over samples i·hop … (i+1)·hop. ValueError if the waveform is no longer than the padding.
    """
    pad = (config.n_fft - config.hop) // 2
    if wave_bs.shape[-1] <= max(pad, config.hop - 1):
        raise ValueError(f"log-mel: expected more than {max(pad, config.hop - 1)} samples, got {wave_bs.shape[-1]}")
    padded = F.pad(wave_bs.unsqueeze(1), (pad, pad), mode="reflect").squeeze(1)
    window = _hann(config.n_fft).to(padded)
    spectrum = torch.stft(padded, config.n_fft, config.hop, window=window, center=False, return_complex=True)
    return log_bands(spectrum, slaney_bank(config).to(padded))


def log_bands(spectrum_bft: Tensor, bank_mf: Tensor) -> Tensor:
    """Natural-log magnitudes (b, mels, t) of a complex spectrum (b, f, t) in the bands of a filter bank (mels, f)."""
    magnitude_bft = (torch.view_as_real(spectrum_bft).square().sum(-1) + MAGNITUDE_FLOOR).sqrt()
    return (bank_mf @ magnitude_bft).clamp_min(LOG_FLOOR).log()


def fbank(wave_s: Tensor) -> Tensor:
    """Kaldi log filter-bank energies (t, 80) of a 16 kHz waveform (s,), without dither.

    25 ms Povey windows every 10 ms, whole ones only (snip edges); DC removed, pre-emphasis 0.97, power, 20–8000 Hz.
    ValueError for less than one window.
    """
    if wave_s.shape[-1] < FBANK_WINDOW:
        raise ValueError(f"filter banks: expected at least {FBANK_WINDOW} samples, got {wave_s.shape[-1]}")
    frames = wave_s.unfold(-1, FBANK_WINDOW, FBANK_SHIFT)
    frames = frames - frames.mean(-1, keepdim=True)
    # Kaldi repeats the first sample, because there is none before it.
    previous = F.pad(frames.unsqueeze(0), (1, 0), mode="replicate").squeeze(0)[:, :-1]
    frames = (frames - FBANK_PREEMPHASIS * previous) * _povey().to(frames)
    power = torch.view_as_real(torch.fft.rfft(frames, FBANK_N_FFT)).square().sum(-1)
    return (power @ _kaldi_bank().to(power).T).clamp_min(torch.finfo(torch.float32).eps).log()


def _constant(values: Tensor) -> Tensor:
    """A plain float32 tensor to cache. One created in inference mode could not take part in a backward pass."""
    with torch.inference_mode(False):
        return values.clone().float()


@lru_cache(maxsize=8)
def _hann(size: int) -> Tensor:
    return _constant(torch.hann_window(size, dtype=torch.float64))


@lru_cache(maxsize=1)
def _povey() -> Tensor:
    return _constant(torch.hann_window(FBANK_WINDOW, periodic=False) ** 0.85)


def _triangles(points: Tensor, edges: Tensor) -> Tensor:
    """Triangular filters (bins, points): filter k rises from edge k to its peak 1 at edge k+1, falls to edge k+2."""
    left, centre, right = (edges[i : len(edges) - 2 + i, None] for i in range(3))
    return torch.minimum((points - left) / (centre - left), (right - points) / (right - centre)).clamp_min(0)


@lru_cache(maxsize=8)
def slaney_bank(config: MelConfig) -> Tensor:
    """(mels, n_fft/2 + 1): triangles in Hz between Slaney-mel edges, each of unit area."""
    frequencies = torch.linspace(0, config.sample_rate / 2, config.n_fft // 2 + 1, dtype=torch.float64)
    mels = torch.linspace(_slaney_mel(config.fmin), _slaney_mel(config.fmax), config.n_mels + 2, dtype=torch.float64)
    # Inverse of _slaney_mel.
    edges = torch.where(mels < 15, mels * (200 / 3), 1000 * torch.exp((mels - 15) * (math.log(6.4) / 27)))
    return _constant(_triangles(frequencies, edges) * (2 / (edges[2:] - edges[:-2]))[:, None])


def _slaney_mel(hertz: float) -> float:
    """Slaney's scale: linear below 1 kHz (= 15 mel), then 27 mel per factor 6.4."""
    return hertz * 3 / 200 if hertz < 1000 else 15 + math.log(hertz / 1000) * 27 / math.log(6.4)


@lru_cache(maxsize=1)
def _kaldi_bank() -> Tensor:
    """(80, 257): triangles in Kaldi's mel scale, peak 1; the Nyquist bin is outside all of them.

    In float32 throughout, as in Kaldi: the narrow low filters differ from exact ones by 1e-5, quiet bins by 4e-4.
    """
    frequencies = torch.arange(FBANK_N_FFT // 2 + 1, dtype=torch.float32) * (VOICE_RATE / FBANK_N_FFT)
    low, high = (1127.0 * math.log(1 + hertz / 700) for hertz in (FBANK_LOW_HZ, VOICE_RATE / 2))
    edges = low + (high - low) / (FBANK_BINS + 1) * torch.arange(FBANK_BINS + 2, dtype=torch.float32)
    return _constant(_triangles(1127.0 * (1 + frequencies / 700.0).log(), edges))
