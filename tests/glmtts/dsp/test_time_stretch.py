"""Speech at another speed: as long as it should be, at its own pitch, without a click, however it was cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmtts.dsp import time_stretch
from glmtts.dsp.audio import Wave
from glmtts.dsp.time_stretch import DELAY_SECONDS, SpeedRange, TimeStretch

RATE = 24000
FACTORS = (0.25, 0.36, 0.5, 0.71, 0.95, 1.05, 1.23, 1.54, 2.0, 3.1, 4.0)
SPEEDS = st.floats(0.25, 4.0)

pytestmark = pytest.mark.skipif(not time_stretch.AVAILABLE, reason="libsonic needs Python 3.11")


def stretched(wave: Wave, factor: float, cuts: list[int] | None = None, rate: int = RATE) -> Wave:
    """The wave in chunks that end at the cuts."""
    stretch = TimeStretch(factor, rate)
    chunks = [stretch.feed(chunk) for chunk in np.split(wave, sorted(cuts or []))]
    return np.concatenate([*chunks, stretch.finish()])


def voiced(seconds: float, pitch: float = 140.0, rate: int = RATE) -> Wave:
    """Like a vowel whose loudness and pitch change: harmonics, with some noise."""
    time = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * np.cumsum(pitch * (1 + 0.1 * np.sin(2 * np.pi * 3 * time))) / rate
    wave = sum(np.sin(k * phase) / k**2 for k in range(1, 12)) * (0.3 + 0.2 * np.sin(2 * np.pi * 4 * time))
    return (wave + np.random.default_rng(0).normal(0, 0.002, len(time))).astype(np.float32)


VOICED = voiced(1.2)


@given(st.sampled_from(FACTORS), st.lists(st.integers(0, len(VOICED))), st.integers(0, len(VOICED)))
def test_samples_do_not_depend_on_how_a_segment_is_cut(factor: float, cuts: list[int], length: int) -> None:
    """Any chunks, empty ones too, give exactly the samples of the whole."""
    wave = VOICED[:length]
    np.testing.assert_array_equal(stretched(wave, factor, [min(cut, length) for cut in cuts]), stretched(wave, factor))


@given(SPEEDS, st.integers(0, 2 * RATE), st.sampled_from([24000, 32000]))
def test_the_length_follows_the_factor(factor: float, samples: int, rate: int) -> None:
    """Within 1 % of n / factor, or 10 ms."""
    wave = voiced(2.0, rate=rate)[:samples]
    expected = samples / factor
    assert abs(len(stretched(wave, factor, rate=rate)) - expected) <= max(0.01 * expected, 0.01 * rate)


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("pitch", [90.0, 150.0, 220.0, 260.0])
def test_a_sine_keeps_its_pitch_and_has_no_click(factor: float, pitch: float) -> None:
    """Its frequency stays within 1 %, and no step between two samples, so none at a chunk's end, is larger than its
    own."""
    sine = (0.3 * np.sin(2 * np.pi * pitch * np.arange(2 * RATE) / RATE)).astype(np.float32)
    wave = stretched(sine, factor, list(range(0, len(sine), 4800)))
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave)), 1 << 19))
    assert np.argmax(spectrum) * RATE / (1 << 19) == pytest.approx(pitch, rel=0.01)
    assert np.abs(np.diff(wave)).max() <= 1.1 * np.abs(np.diff(sine)).max()


@pytest.mark.parametrize("factor", FACTORS)
def test_silence_stays_silent(factor: float) -> None:
    """A pause lasts as long as it should, and has nothing in it."""
    assert not stretched(np.zeros(RATE, np.float32), factor).any()


@given(st.sampled_from(FACTORS), st.integers(1, len(VOICED)))
def test_little_is_held_back(factor: float, length: int) -> None:
    """All but the delay of what was fed has come out, up to the tolerance of the length."""
    out = len(TimeStretch(factor, RATE).feed(VOICED[:length]))
    assert out * factor >= 0.99 * (length - DELAY_SECONDS * RATE) - max(1, factor) * 0.01 * RATE


def test_a_factor_of_one_changes_nothing() -> None:
    """Nor does it hold anything back."""
    np.testing.assert_array_equal(TimeStretch(1.0, RATE).feed(VOICED), VOICED)


@given(SPEEDS, st.none() | st.floats(0.5, 1.0), st.none() | st.floats(1.0, 1.5))
def test_a_model_speaks_within_its_range(speed: float, low: float | None, high: float | None) -> None:
    """The model's speed is within the range and the nearest to what is asked; the stretch makes up for the rest."""
    model_speed, factor = SpeedRange(low, high).split(speed)
    assert (low or 0.0) <= model_speed <= (high or 4.0)
    assert model_speed * factor == pytest.approx(speed)
    if (low or 0.0) <= speed <= (high or 4.0):
        assert (model_speed, factor) == (speed, 1.0)
