"""An engine's chunks follow the pace that its warm-up measures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from glmtts.checkpoint.loader import Model
from glmtts.dsp.audio import FRAME_RATE, FRAMES_PER_TOKEN
from glmtts.engine.api import Job
from glmtts.engine.config import ChunkSchedule, EngineOptions
from glmtts.engine.runtime.engine import BatchEngine
from glmtts.engine.runtime.loading import adapts_chunks, measured_pace, warm_up
from glmtts.engine.scheduling.pace import Pace
from glmtts.text.frontend.frontend import Segment
from tests.helpers.voices import made_up_voice

MakeEngine = Callable[..., BatchEngine]


def first_tokens(engine: BatchEngine, model: Model) -> int:
    """Tokens of a stream's first chunk, from its samples and what the vocoder holds back."""
    job = Job((Segment(0, "", (9,) * 30),), made_up_voice(model), 24000, seed=1)
    frames = len(next(iter(engine.submit(job).chunks()))) * FRAME_RATE // 24000
    return int(frames + model.vocoders[24000].context_frames) // FRAMES_PER_TOKEN


def test_a_fast_engine_begins_with_a_smaller_chunk(make_engine: MakeEngine, model: Model) -> None:
    """Of jobs from then on; a slow one begins as it did."""
    engine = make_engine()
    assert first_tokens(engine, model) == ChunkSchedule().sizes[0]
    engine.adapt_chunks(Pace(0.001, 0.01))
    assert first_tokens(engine, model) == 15
    engine.adapt_chunks(Pace(0.1, 1.0))
    assert first_tokens(engine, model) == ChunkSchedule().sizes[0]


def test_the_warm_up_measures_the_pace(make_engine: MakeEngine, model: Model) -> None:
    """What its stages took, by token and by chunk."""
    report = warm_up(make_engine(), model)
    pace = measured_pace(report, ChunkSchedule())
    assert report.speech_tokens > 0
    assert pace.token_seconds * report.speech_tokens == pytest.approx(report.stage_seconds["decode"])
    assert 0 < pace.chunk_seconds <= report.stage_seconds["flow"] + report.stage_seconds["vocoder"]


def test_only_a_gpu_adapts_and_only_where_it_helps(model: Model) -> None:
    """Not a deterministic engine, nor a checkpoint that holds back a segment's first tokens."""
    gpu = replace(model, device=torch.device("cuda"))
    assert not adapts_chunks(model, EngineOptions())
    assert adapts_chunks(gpu, EngineOptions())
    assert not adapts_chunks(gpu, EngineOptions(deterministic=True))
    holding = replace(gpu, generation=replace(model.generation, tokens_per_id=2.0))
    assert not adapts_chunks(holding, EngineOptions())
