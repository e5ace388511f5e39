"""A stream's chunks, joined: near to the whole utterance, and without a click where they meet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from glmtts.checkpoint.loader import Model
from glmtts.config import MEL_32K
from glmtts.dsp import time_stretch
from glmtts.dsp.audio import Wave
from glmtts.dsp.time_stretch import TimeStretch
from glmtts.engine.api import Job
from glmtts.engine.runtime.engine import BatchEngine
from glmtts.models.vocoder.vocos import Vocos
from glmtts.text.frontend.frontend import Segment
from tests.helpers.voices import made_up_voice

MakeEngine = Callable[..., BatchEngine]


class Generator(nn.Module):
    """A convolution over frames, then 640 samples of each: local, but the engine is not told how far it reaches."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv1d(80, 32, 15, padding=7)
        self.wave = nn.Linear(32, MEL_32K.hop)

    def forward(self, mel_btc: Tensor) -> Tensor:
        hidden = torch.tanh(self.conv(mel_btc.transpose(1, 2))).transpose(1, 2)
        return 0.3 * torch.tanh(self.wave(hidden)).flatten(1)


def request_of(model: Model) -> Job:
    """A segment of some ten seconds and more."""
    return Job((Segment(0, "", (9,) * 80),), made_up_voice(model), 24000, seed=1)


def chunks_of(engine: BatchEngine, model: Model, **options: object) -> list[Wave]:
    """The chunks of a job with these options."""
    return list(engine.submit(replace(request_of(model), **options)).chunks())  # type: ignore[arg-type]  # each of its own type


def distance(one: Wave, other: Wave) -> float:
    return float(np.sqrt(np.mean((one - other) ** 2)))


def steps(wave: Wave, places: NDArray[np.int64]) -> NDArray[np.float32]:
    """From the sample before each place to that at it."""
    results: NDArray[np.float32] = np.abs(wave[places] - wave[places - 1])
    return results


def energy_jumps(wave: Wave, places: NDArray[np.int64], span: int = 120) -> NDArray[np.float64]:
    """How much louder or softer the 5 ms after each place are than those before, in nats."""
    power = np.concatenate([[0.0], np.cumsum(wave.astype(np.float64) ** 2)])
    before, after = (power[places + end] - power[places + end - span] for end in (0, span))
    results: NDArray[np.float64] = np.abs(np.log((after + 1e-12) / (before + 1e-12)))
    return results


def joins(chunks: list[Wave]) -> NDArray[np.int64]:
    return np.cumsum([len(chunk) for chunk in chunks])[:-1]


@pytest.mark.parametrize("speed", [1.0, 1.4])
def test_chunks_join_to_nearly_the_whole_without_a_click(make_engine: MakeEngine, model: Model, speed: float) -> None:
    """Joined chunks are ten times nearer to the whole than another seed's, and meet as smoothly as any samples do."""
    engine = make_engine()
    chunks = chunks_of(engine, model, speed=speed)
    wave = np.concatenate(chunks)
    whole, other = (np.concatenate(chunks_of(engine, model, stream=False, speed=speed, seed=seed)) for seed in (1, 2))
    shortest = min(len(whole), len(other))
    assert len(wave) == len(whole)
    assert distance(wave, whole) < 0.1 * distance(other[:shortest], whole[:shortest])
    assert len(joins(chunks)) >= 3
    elsewhere = np.arange(1000, len(wave) - 1000, 37)
    assert steps(wave, joins(chunks)).max() <= steps(wave, elsewhere).max()
    assert np.median(energy_jumps(wave, joins(chunks))) <= np.quantile(energy_jumps(wave, elsewhere), 0.9)


@pytest.mark.skipif(not time_stretch.AVAILABLE, reason="libsonic needs Python 3.11")
@pytest.mark.parametrize("speed", [0.4, 2.2])
def test_beyond_the_range_of_speeds_chunks_are_stretched(make_engine: MakeEngine, model: Model, speed: float) -> None:
    """Whole or in chunks, the job is as long as it should be, reports that, and has no click."""
    limited = replace(model, generation=replace(model.generation, min_speed=0.8, max_speed=1.0))
    engine = make_engine(limited)
    plain = np.concatenate(chunks_of(engine, limited, stream=False))
    for stream in (True, False):
        handle = engine.submit(replace(request_of(limited), speed=speed, stream=stream))
        chunks = list(handle.chunks())
        wave = np.concatenate(chunks)
        assert len(wave) == pytest.approx(len(plain) / speed, rel=0.01)
        assert handle.report.audio_seconds == pytest.approx(len(wave) / 24000)
        elsewhere = np.arange(1000, len(wave) - 1000, 37)
        assert not stream or steps(wave, joins(chunks)).max() <= steps(wave, elsewhere).max()
        if speed > 1.0 and not stream:
            stretch = TimeStretch(speed, 24000)
            np.testing.assert_allclose(wave, np.concatenate([stretch.feed(plain), stretch.finish()]), atol=1e-5)


def test_a_vocoder_that_is_not_windowable_is_cross_faded(make_engine: MakeEngine, model: Model) -> None:
    """At 32 kHz, too, a stream has the length of the whole and is near to it."""
    both = replace(model, vocoders={**model.vocoders, MEL_32K.sample_rate: Vocos(Generator().eval())})
    engine = make_engine(both)
    chunks = chunks_of(engine, both, sample_rate=32000)
    wave, whole = np.concatenate(chunks), np.concatenate(chunks_of(engine, both, sample_rate=32000, stream=False))
    assert len(joins(chunks)) >= 3
    assert len(wave) == len(whole)
    assert distance(wave, whole) < 0.2 * distance(np.zeros_like(whole), whole)
