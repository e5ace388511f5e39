"""Rates, and conversions between speech tokens, mel frames and samples; cross-fades and rounding of waveforms.

Waveforms are numpy float32 in [-1, 1], mono, shape (samples,).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Wave = NDArray[np.float32]
EMPTY_WAVE: Wave = np.zeros(0, np.float32)

TOKEN_RATE = 25
FRAME_RATE = 50
FRAMES_PER_TOKEN = FRAME_RATE // TOKEN_RATE
VOICE_RATE = 16000
"""Sample rate (Hz) of the speaker encoder and the speech tokenizer."""


def frames_for_tokens(tokens: int, speed: float = 1.0) -> int:
    """Mel frames of `tokens` speech tokens at `speed` (2 is twice as fast)."""
    return round(tokens * FRAMES_PER_TOKEN / speed)


def hop_length(sample_rate: int) -> int:
    """Samples per mel frame at `sample_rate`; ValueError if it is not a multiple of the frame rate."""
    if sample_rate % FRAME_RATE:
        raise ValueError(f"sample rate: expected a multiple of {FRAME_RATE} Hz, got {sample_rate} Hz")
    return sample_rate // FRAME_RATE


def with_silence(wave: Wave, seconds: float, sample_rate: int) -> Wave:
    """`wave`, and `seconds` of silence after it at `sample_rate` in Hz."""
    return np.concatenate([wave, np.zeros(round(seconds * sample_rate), np.float32)]) if seconds else wave


def cross_fade(tail: Wave, head: Wave) -> Wave:
    """Blends two equally long waveforms, from `tail` to `head`, by a raised cosine; the weights sum to 1."""
    if tail.shape != head.shape:
        raise ValueError(f"cross-fade: expected equal lengths, got {tail.shape[0]} and {head.shape[0]} samples")
    rise = (0.5 - 0.5 * np.cos(np.pi * (np.arange(len(head)) + 0.5) / max(len(head), 1))).astype(np.float32)
    return tail * (1 - rise) + head * rise


def to_int16(wave: Wave) -> NDArray[np.int16]:
    """Rounds [-1, 1] to 16-bit PCM; samples outside are clipped."""
    return np.round(np.clip(wave, -1.0, 1.0) * 32767.0).astype(np.int16)
