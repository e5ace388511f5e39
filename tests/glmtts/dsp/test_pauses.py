"""Pauses in speech."""

from __future__ import annotations

import numpy as np

from glmtts.dsp.audio import Wave
from glmtts.dsp.pauses import find_pauses

RATE = 16000


def sound(*parts: tuple[float, float]) -> Wave:
    """Noise of (seconds, level), one after the other."""
    rng = np.random.default_rng(0)
    return np.concatenate([level * rng.standard_normal(int(seconds * RATE)) for seconds, level in parts]).astype("f4")


def test_a_pause_is_between_loud_parts() -> None:
    wave = sound((0.4, 0.0), (1.0, 0.1), (0.4, 0.001), (1.0, 0.1), (0.8, 0.0))
    assert find_pauses(wave, RATE) == [(10 + 25) + 5]


def test_short_gaps_and_silence_are_not_pauses() -> None:
    assert find_pauses(sound((1.0, 0.1), (0.08, 0.0), (1.0, 0.1)), RATE) == []
    assert find_pauses(sound((1.0, 0.0)), RATE) == []
    assert find_pauses(np.zeros(10, np.float32), RATE) == []
