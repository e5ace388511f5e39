"""What fails inside a batch: as few jobs as possible end with it, and the engine goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from glmtts.checkpoint.loader import Model
from glmtts.engine.api import Job
from glmtts.engine.runtime.engine import BatchEngine
from glmtts.engine.runtime.offline import synthesize
from glmtts.engine.scheduling.job_handle import JobHandle
from glmtts.errors import DeviceMemoryError, EngineError, GlmTtsError
from glmtts.models.flow.flow import FlowInputs
from glmtts.text.frontend import Segment
from tests.helpers.server import wait_until
from tests.helpers.voices import made_up_voice

MakeEngine = Callable[..., BatchEngine]
TEXT = "你好世界，再见。"


def jobs(model: Model) -> list[Job]:
    """Three jobs of one text in three voices."""
    segments = tuple(model.frontend.segments(TEXT))
    return [Job(segments, made_up_voice(model, seed=i), 24000, seed=i, stream=False) for i in range(3)]


def outcome(handle: JobHandle) -> np.ndarray[Any, np.dtype[np.float32]] | GlmTtsError:
    try:
        return np.concatenate(list(handle.chunks()))
    except GlmTtsError as error:
        return error


def outcomes(engine: BatchEngine, asked: list[Job]) -> list[Any]:
    with engine._queue.changed:  # all at once: else a slot that was lost to the first may be the third one's
        handles = [engine.submit(job) for job in asked]
    return [outcome(handle) for handle in handles]


def check(model: Model, asked: list[Job], got: list[Any], failed: dict[int, type[GlmTtsError]]) -> None:
    """Those in `failed` ended so; the others said what they say alone."""
    for i, (job, result) in enumerate(zip(asked, got, strict=True)):
        if i in failed:
            assert type(result) is failed[i]
        else:
            alone = synthesize(model, TEXT, job.voice, seed=job.seed).wave
            np.testing.assert_allclose(result, alone, atol=1e-4)


def breaking(work: Callable[..., Any], when: Callable[..., bool], error: Exception) -> Callable[..., Any]:
    """`work`, but it raises when asked for what it shall not do."""

    def broken(*args: Any, **kwargs: Any) -> Any:
        if when(*args, **kwargs):
            raise error
        return work(*args, **kwargs)

    return broken


def holds(tensor: Tensor, value: Tensor) -> bool:
    """Whether one of the rows of `tensor` is `value`."""
    return bool((tensor == value).all(dim=-1).any())


def test_a_batch_that_fails_goes_on_row_by_row(
    make_engine: MakeEngine, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When no step works but with one row, every job still says what it says alone."""
    extend, velocity = model.llm.forward_cached, model.flow.velocity
    too_many = torch.OutOfMemoryError("too many rows")
    monkeypatch.setattr(model.llm, "forward_cached", breaking(extend, lambda ids, *_, **__: len(ids) > 1, too_many))
    monkeypatch.setattr(model.flow, "velocity", breaking(velocity, lambda x, *_, **__: len(x) > 1, too_many))
    engine, asked = make_engine(), jobs(model)
    got = outcomes(engine, asked)
    assert engine.stats().retries > 0
    assert engine.stats().failures == 0
    monkeypatch.undo()
    check(model, asked, got, {})


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (torch.OutOfMemoryError("no memory"), DeviceMemoryError),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), DeviceMemoryError),
        (RuntimeError("a secret"), EngineError),
    ],
)
def test_a_row_that_cannot_be_decoded_fails_alone(
    make_engine: MakeEngine, model: Model, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[GlmTtsError]
) -> None:
    """A decode step that fails with a row of slot 1 in it ends that job, by an error of ours."""

    def has_slot_1(ids: Tensor, *_: Any, rows: slice, **__: Any) -> bool:
        return ids.shape[1] == 1 and rows.start <= 1 < rows.stop

    monkeypatch.setattr(model.llm, "forward_cached", breaking(model.llm.forward_cached, has_slot_1, error))
    engine, asked = make_engine(max_num_seqs=3), jobs(model)
    got = outcomes(engine, asked)
    assert engine.stats().failures == 1
    monkeypatch.undo()
    check(model, asked, got, {1: kind})


def test_a_row_without_numbers_fails_alone(make_engine: MakeEngine, model: Model) -> None:
    """When a slot's memory goes bad, its job ends and its neighbours do not notice."""
    engine, asked = make_engine(max_num_seqs=3), jobs(model)
    long = Job((Segment(0, "", (9,) * 200),), made_up_voice(model), 24000, seed=5, stream=False)
    bad = engine.submit(long)
    wait_until(lambda: engine.stats().step_rows.total > 0, "the job to be decoded")
    engine._loop.decode._decoder.cache.kv[0].fill_(float("nan"))
    got = outcomes(engine, asked)
    with pytest.raises(EngineError, match="not numbers"):
        list(bad.chunks())
    check(model, asked, got, {})


def test_a_voice_that_the_flow_cannot_speak_fails_alone(
    make_engine: MakeEngine, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A solver step that fails with a certain voice in it ends the job of that voice."""
    engine, asked = make_engine(), jobs(model)
    bad = torch.nn.functional.normalize(asked[2].voice.speaker, dim=-1)

    def has_it(_: Tensor, inputs: FlowInputs, *__: Any, **___: Any) -> bool:
        return holds(inputs.spk_bd, bad)

    fails = breaking(model.flow.velocity, has_it, RuntimeError())
    monkeypatch.setattr(model.flow, "velocity", fails)
    got = outcomes(engine, asked)
    monkeypatch.undo()
    check(model, asked, got, {2: EngineError})


def test_a_vocoder_that_fails_once_fails_one(
    make_engine: MakeEngine, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A window that fails alone as well as in a batch ends its job, and the next job is served."""
    vocoder = model.vocoders[24000]
    monkeypatch.setattr(
        vocoder, "render_window", breaking(vocoder.render_window, lambda *_, **__: True, RuntimeError())
    )
    engine, asked = make_engine(), jobs(model)
    assert [type(result) for result in outcomes(engine, asked[:1])] == [EngineError]
    monkeypatch.undo()
    check(model, asked, outcomes(engine, asked), {})


def test_a_fault_of_the_engine_itself_ends_what_runs_and_not_the_engine(
    make_engine: MakeEngine, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the book-keeping raises, running jobs end with EngineError, and the next ones are served."""
    engine, asked = make_engine(num_threads=1), jobs(model)
    monkeypatch.setattr(
        engine._scheduler, "decode_tasks", breaking(engine._scheduler.decode_tasks, lambda: True, RuntimeError("bug"))
    )
    assert {type(result) for result in outcomes(engine, asked)} == {EngineError}
    monkeypatch.undo()
    check(model, asked, outcomes(engine, asked), {})
    assert engine.stalled_seconds() < 60


@pytest.mark.parametrize("threads", [1, 2])
def test_work_that_nobody_does_shows_as_age(
    make_engine: MakeEngine, model: Model, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    """When every thread rests although a job could go on, the age of the last progress grows; it is 0 at the end."""
    engine, asked = make_engine(num_threads=threads), jobs(model)[:1]
    monkeypatch.setattr(engine._scheduler, "next_prefill", lambda: None)
    handle = engine.submit(asked[0])
    wait_until(lambda: engine.stalled_seconds() > 0.5, "the age to grow")
    assert not handle.ended
    monkeypatch.undo()
    check(model, asked, [outcome(handle)], {})
    wait_until(lambda: engine.stalled_seconds() == 0.0, "the engine to rest")
