"""A chain of jobs, each going on from what the one before has said, on the batching engine."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from glmtts.checkpoint.loader import Model
from glmtts.dsp.audio import Wave
from glmtts.engine.api import Job
from glmtts.engine.runtime.engine import BatchEngine
from glmtts.errors import InputError
from glmtts.models.llm.history import SpokenSegment
from glmtts.text.frontend.frontend import Segment
from tests.helpers.voices import made_up_voice

MakeEngine = Callable[..., BatchEngine]
TEXT = "今天天气很好我们去公园散步吧好不好呀大家一起来看看。一二三四五六七八。" * 3


@pytest.mark.slow
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("history", [True, False])
def test_a_chain_of_jobs_says_what_one_job_says(
    make_engine: MakeEngine, model: Model, history: bool, stream: bool
) -> None:
    """Segment by segment, each job given what the one before reports, the samples are those of one job."""
    engine, voice = make_engine(), made_up_voice(model)
    segments = tuple(engine.segments(TEXT))
    assert len(segments) == 3

    def speak(earlier: tuple[SpokenSegment, ...], *spoken: Segment) -> tuple[Wave, tuple[SpokenSegment, ...]]:
        request = Job(spoken, voice, 24000, seed=3, use_history=history, stream=stream, history=earlier)
        handle = engine.submit(request)
        return np.concatenate(list(handle.chunks())), handle.report.history

    whole, remembered = speak((), *segments)
    pieces: list[Wave] = []
    earlier: tuple[SpokenSegment, ...] = ()
    for segment in segments:
        piece, earlier = speak(earlier, segment)
        pieces.append(piece)
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-5)
    assert earlier == remembered
    assert bool(earlier) is history


def test_a_job_with_ids_of_another_model_is_refused(make_engine: MakeEngine, model: Model) -> None:
    """They come from outside, and an embedding has no row for them."""
    engine = make_engine()
    with pytest.raises(InputError, match=r"expected (text ids|speech tokens) 0 to"):
        engine.submit(Job(tuple(engine.segments("你好")), made_up_voice(model), 24000, 3, history=(((1,), (10**6,)),)))
