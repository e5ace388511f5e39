"""Where each segment is in a job's audio: exact to the sample, whatever the speed, in each of the engines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from glmtts.checkpoint.loader import Model
from glmtts.engine.api import Engine, Job
from glmtts.engine.runtime.engine import BatchEngine
from glmtts.engine.runtime.fake import FakeEngine
from glmtts.engine.runtime.offline import synthesize
from tests.helpers.voices import made_up_voice

MakeEngine = Callable[..., BatchEngine]
RATE = 24000
TEXT = '<speak>今天天气好<break time="700ms"/>去散步。明天也去，<break time="1.25s"/>好不好</speak>'


@pytest.fixture(params=["batch", "fake"])
def engine(request: pytest.FixtureRequest, make_engine: MakeEngine) -> Iterator[Engine]:
    if request.param == "batch":
        yield make_engine()
        return
    fake = FakeEngine()
    yield fake
    fake.close()


@pytest.mark.parametrize("speed", [1.0, 2.0])
@pytest.mark.parametrize("stream", [True, False])
def test_a_segment_is_where_its_timing_says(engine: Engine, model: Model, stream: bool, speed: float) -> None:
    """The samples between its borders are those of the segment alone, and between two segments there is its pause."""
    segments = tuple(engine.read(TEXT).segments)
    job = Job(segments, made_up_voice(model), RATE, seed=3, speed=speed, stream=stream)
    handle = engine.submit(job)
    wave = np.concatenate(list(handle.chunks()))
    timings = handle.report.timings
    assert [(timing.index, timing.text) for timing in timings] == [(part.index, part.text) for part in segments]
    earlier, end = job.history, 0
    for segment, timing in zip(segments, timings, strict=True):
        alone = engine.submit(replace(job, segments=(replace(segment, pause_seconds=0.0),), history=earlier))
        samples = np.concatenate(list(alone.chunks()))
        earlier = alone.report.history
        borders = [round(seconds * RATE) for seconds in (timing.start_seconds, timing.end_seconds)]
        assert borders == [end, end + len(samples)]
        np.testing.assert_allclose(wave[slice(*borders)], samples, atol=1e-5)
        end = borders[1] + round(segment.pause_seconds * RATE)
    assert end == len(wave)


def test_timings_are_known_once_a_segment_is_made(engine: Engine, model: Model) -> None:
    """A reader that has all samples of a segment finds its timing."""
    handle = engine.submit(Job(tuple(engine.read(TEXT).segments), made_up_voice(model), RATE, seed=3))
    heard = 0
    for chunk in handle.chunks():
        known = len(handle.report.timings)
        heard += len(chunk)
        complete = [timing for timing in handle.report.timings if round(timing.end_seconds * RATE) <= heard]
        assert len(complete) <= known


def test_words_are_where_the_engine_put_them(model: Model) -> None:
    """The fake engine speaks each character for a tenth of a second, at any speed, after pauses too."""
    fake = FakeEngine()
    segments = [
        replace(part, words=fake.words(part))
        for part in fake.read("<speak>Hi you.<break time='1s'/>Me!</speak>").segments
    ]
    handle = fake.submit(Job(tuple(segments), made_up_voice(model), RATE, seed=3, speed=2.0))
    assert sum(map(len, handle.chunks()))
    words = [
        (word.text, round(word.start_seconds, 3), round(word.end_seconds, 3), word.estimated)
        for timing in handle.report.timings
        for word in timing.words
    ]
    assert words == [("Hi", 0.0, 0.1, False), ("you", 0.15, 0.3, False), ("Me", 1.35, 1.45, False)]
    fake.close()


def test_without_heads_that_follow_the_text_words_are_estimated(make_engine: MakeEngine, model: Model) -> None:
    """Within the segment, in order. The weights are random, so what a head attends to says nothing either."""
    for heads in ((), ((0, 0),)):
        engine = make_engine(replace(model, generation=replace(model.generation, alignment_heads=heads)))
        segments = tuple(
            replace(part, words=engine.words(part)) for part in engine.read("今天天气好。去散步。").segments
        )
        handle = engine.submit(Job(segments, made_up_voice(model), RATE, seed=3))
        assert sum(map(len, handle.chunks()))
        for segment, timing in zip(segments, handle.report.timings, strict=True):
            assert [word.text for word in timing.words] == [word.text for word in segment.words]
            assert all(word.estimated for word in timing.words)
            borders = [border for word in timing.words for border in (word.start_seconds, word.end_seconds)]
            assert borders == sorted(borders)
            assert timing.start_seconds <= borders[0] <= borders[-1] <= timing.end_seconds


def test_offline(make_engine: MakeEngine, model: Model) -> None:
    """The reference has the same borders as the engine."""
    voice = made_up_voice(model)
    reference = synthesize(model, TEXT, voice, seed=3)
    handle = make_engine().submit(Job(reference.segments, voice, RATE, seed=3, stream=False))
    assert sum(map(len, handle.chunks())) == len(reference.wave)
    assert handle.report.timings == reference.report.timings
