"""Silence after segments: of exact length, at its place, whatever the speed, in each of the engines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from glmtts.checkpoint.loader import Model
from glmtts.dsp.audio import Wave
from glmtts.engine.api import Engine, Job
from glmtts.engine.runtime.engine import BatchEngine
from glmtts.engine.runtime.fake import FakeEngine
from glmtts.engine.runtime.offline import synthesize
from glmtts.text.frontend.frontend import Segment
from tests.helpers.voices import made_up_voice

MakeEngine = Callable[..., BatchEngine]
RATE = 24000
SSML = '<speak>今天天气好<break time="700ms"/>去散步<break time="1.25s"/>好不好<break time="10ms"/></speak>'
PAUSES = [0.7, 1.25, 0.01]


@pytest.fixture(params=["batch", "fake"])
def engine(request: pytest.FixtureRequest, make_engine: MakeEngine) -> Iterator[Engine]:
    if request.param == "batch":
        yield make_engine()
        return
    fake = FakeEngine()
    yield fake
    fake.close()


def speak(engine: Engine, job: Job) -> Wave:
    return np.concatenate(list(engine.submit(job).chunks()))


def without_pauses(segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
    return tuple(replace(segment, pause_seconds=0.0) for segment in segments)


@pytest.mark.parametrize("speed", [1.0, 2.0])
@pytest.mark.parametrize("stream", [True, False])
def test_silence_of_exact_length(engine: Engine, model: Model, stream: bool, speed: float) -> None:
    """Each segment's samples, then zeros: as long as its pause, at any speed."""
    segments = tuple(engine.segments(SSML))
    assert [segment.pause_seconds for segment in segments] == PAUSES
    job = Job(segments, made_up_voice(model), RATE, seed=3, speed=speed, stream=stream)
    wave = speak(engine, job)
    expected: list[Wave] = []
    earlier = job.history
    for segment in segments:
        part = replace(job, segments=without_pauses((segment,)), history=earlier)
        handle = engine.submit(part)
        expected += [*handle.chunks(), np.zeros(round(segment.pause_seconds * RATE), np.float32)]
        earlier = handle.report.history
    np.testing.assert_allclose(wave, np.concatenate(expected), atol=1e-5)


def test_offline(make_engine: MakeEngine, model: Model) -> None:
    """The reference has the same silence as the engine."""
    voice = made_up_voice(model)
    reference = synthesize(model, SSML, voice, seed=3)
    wave = speak(make_engine(), Job(reference.segments, voice, RATE, seed=3, stream=False))
    assert len(wave) == len(reference.wave) == 960 * reference.report.speech_tokens + round(sum(PAUSES) * RATE)
    np.testing.assert_allclose(wave, reference.wave, atol=1e-4)


def test_a_segment_is_sent_again(engine: Engine) -> None:
    """A segment's text, with its pause, gives the same segment again."""
    segments = engine.segments(SSML)
    again = [engine.segments(segment.written, segmented=True) for segment in segments]
    assert [replace(segment, index=index) for index, [segment] in enumerate(again)] == segments
