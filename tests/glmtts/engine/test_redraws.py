"""Segments that are drawn again, on a tiny checkpoint whose random lengths are often implausible."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from glmtts.checkpoint.loader import Model, load
from glmtts.dsp.audio import Wave
from glmtts.engine.api import Job
from glmtts.engine.runtime.engine import BatchEngine
from glmtts.engine.runtime.offline import SynthesisResult, synthesize
from glmtts.models.llm.history import SpokenSegment
from glmtts.text.frontend.frontend import Segment
from tests.helpers.tiny_checkpoint import write_tiny_checkpoint
from tests.helpers.voices import made_up_voice

MakeEngine = Callable[..., BatchEngine]
TEXTS = ["Good.", "你好世界", "Yes. No.", "今天天气很好，我们走吧。一。二。"]
GENERATION = {
    "min_ratio": 0.0,
    "min_tokens": 7,
    "max_ratio": 4.0,
    "segment_by": "sentence",
    "min_segment_weight": 1.0,
    "tokens_per_id": 1.0,
    "base_tokens": 10.0,
    "min_length_ratio": 0.7,
    "max_length_ratio": 1.4,
    "max_redraws": 2,
    "max_redraw_tokens": 30,
}
"""About half of the draws are implausible, and "Good." is short: at most 21 tokens."""


@pytest.fixture(scope="module")
def moody(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """It ends when it likes."""
    folder = tmp_path_factory.mktemp("redraws") / "tiny"
    return load(write_tiny_checkpoint(folder, generation=GENERATION), device="cpu")


def once(model: Model) -> Model:
    """The same model, without redraws."""
    return replace(model, generation=replace(model.generation, max_redraws=0, tokens_per_id=None))


def job(model: Model, text: str, seed: int, **options: object) -> Job:
    segments = tuple(model.frontend.segments(text))
    return Job(segments, made_up_voice(model), 24000, seed, **options)  # type: ignore[arg-type]  # of many types


def offline(model: Model, text: str, seed: int) -> SynthesisResult:
    return synthesize(model, text, made_up_voice(model), seed=seed)


def spoken(result: SynthesisResult) -> tuple[SpokenSegment, ...]:
    """What an engine's job reports of the same."""
    pairs = zip(result.segments, result.tokens, strict=True)
    return tuple(SpokenSegment(segment.ids, tokens) for segment, tokens in pairs)


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("stream", [True, False])
def test_jobs_together_say_what_offline_synthesis_says(
    make_engine: MakeEngine, moody: Model, threads: int, stream: bool
) -> None:
    """Jobs that share decode steps have the tokens, redraws and finish reasons that each has alone."""
    engine = make_engine(of=moody, max_num_seqs=4, num_threads=threads)
    cases = [(text, seed) for text in TEXTS for seed in range(3)]
    with engine._queue.changed:  # all at once
        handles = [engine.submit(job(moody, text, seed, stream=stream)) for text, seed in cases]
    finishes = set()
    for handle, (text, seed) in zip(handles, cases, strict=True):
        made, alone = np.concatenate(list(handle.chunks())), offline(moody, text, seed)
        assert handle.report.history == spoken(alone)
        assert handle.report.redraws == alone.report.redraws
        assert handle.report.finish_reason == alone.report.finish_reason
        assert len(made) == len(alone.wave)
        if not stream:
            np.testing.assert_allclose(made, alone.wave, atol=1e-4)
        finishes.add(handle.report.finish_reason)
    assert finishes == {"stop", "length", "implausible"}
    redraws = engine.stats().redraws
    assert sum(redraws.values()) == sum(handle.report.redraws for handle in handles)
    assert all(redraws.values()), "each reason must have occurred"


def test_a_plausible_first_draw_is_spoken_as_it_is(moody: Model) -> None:
    """Without a redraw the samples are those of a checkpoint that has none."""
    kept = [seed for seed in range(8) if offline(moody, "你好世界", seed).report.redraws == 0]
    assert 0 < len(kept) < 8
    for seed in kept:
        assert np.array_equal(offline(moody, "你好世界", seed).wave, offline(once(moody), "你好世界", seed).wave)


def test_a_deterministic_engine_draws_once(make_engine: MakeEngine, moody: Model) -> None:
    engine = make_engine(of=moody, deterministic=True)
    handles = [engine.submit(job(moody, "你好世界", seed, stream=False)) for seed in range(6)]
    for seed, handle in enumerate(handles):
        assert list(handle.chunks())
        assert handle.report.history == spoken(offline(once(moody), "你好世界", seed))
    assert not any(engine.stats().redraws.values())


@pytest.mark.parametrize("stream", [True, False])
def test_a_job_is_continued_behind_a_segment_that_was_drawn_again(
    make_engine: MakeEngine, moody: Model, stream: bool
) -> None:
    """Another node, given only what was spoken, says the rest as the first one would have."""
    text = TEXTS[3]
    first, second = make_engine(of=moody), make_engine(of=moody, num_threads=1)
    segments = tuple(first.segments(text))

    def speak(
        engine: BatchEngine, earlier: tuple[SpokenSegment, ...], *rest: Segment
    ) -> tuple[Wave, tuple[SpokenSegment, ...], int]:
        request = Job(rest, made_up_voice(moody), 24000, seed=1, stream=stream, history=earlier)
        handle = engine.submit(request)
        return np.concatenate(list(handle.chunks())), handle.report.history, handle.report.redraws

    whole, _, redraws = speak(first, (), *segments)
    pieces, earlier, counts = [], (), []
    for engine, segment in zip([first, second] * len(segments), segments, strict=False):
        piece, earlier, count = speak(engine, earlier, segment)
        pieces.append(piece)
        counts.append(count)
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-5)
    assert sum(counts) == redraws
    assert counts[0] > 0, "its redraw is followed by segments"
