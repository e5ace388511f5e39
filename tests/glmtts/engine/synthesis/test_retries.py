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
from glmtts.text.frontend.frontend import Segment
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


def outcomes(engine: BatchEngine, requests: list[Job]) -> list[Any]:
    with engine._queue.changed:  # all at once: else a slot that was lost to the first may be the third one's
        handles = [engine.submit(job) for job in requests]
    return [outcome(handle) for handle in handles]


def check(model: Model, requests: list[Job], got: list[Any], failed: dict[int, type[GlmTtsError]]) -> None:
    """Jobs in `failed` ended with that error; the others gave the audio that they give alone."""
    for i, (job, result) in enumerate(zip(requests, got, strict=True)):
        if i in failed:
            assert type(result) is failed[i]
        else:
            alone = synthesize(model, TEXT, job.voice, seed=job.seed).wave
            np.testing.assert_allclose(result, alone, atol=1e-4)


def breaking(work: Callable[..., Any], when: Callable[..., bool], error: Exception) -> Callable[..., Any]:
    """`work`, but it raises `error` for arguments that satisfy `when`."""

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
    """When only steps of one row work, every job still gives the audio that it gives alone."""
    extend, velocity = model.llm.forward_cached, model.flow.velocity
    too_many = torch.OutOfMemoryError("too many rows")
    monkeypatch.setattr(model.llm, "forward_cached", breaking(extend, lambda ids, *_, **__: len(ids) > 1, too_many))
    monkeypatch.setattr(model.flow, "velocity", breaking(velocity, lambda x, *_, **__: len(x) > 1, too_many))
    engine, requests = make_engine(), jobs(model)
    got = outcomes(engine, requests)
    assert engine.stats().retries > 0
    assert engine.stats().failures == 0
    monkeypatch.undo()
    check(model, requests, got, {})


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
    """A decode step that fails whenever slot 1 is in it ends that job, with an error of this package."""

    def has_slot_1(ids: Tensor, *_: Any, rows: slice, **__: Any) -> bool:
        return ids.shape[1] == 1 and rows.start <= 1 < rows.stop

    monkeypatch.setattr(model.llm, "forward_cached", breaking(model.llm.forward_cached, has_slot_1, error))
    engine, requests = make_engine(max_num_seqs=3), jobs(model)
    got = outcomes(engine, requests)
    assert engine.stats().failures == 1
    monkeypatch.undo()
    check(model, requests, got, {1: kind})


def test_a_row_without_numbers_fails_alone(make_engine: MakeEngine, model: Model) -> None:
    """When a slot's cache becomes NaN, its job ends and its neighbours do not notice."""
    engine, requests = make_engine(max_num_seqs=3), jobs(model)
    long = Job((Segment(0, "", (9,) * 200),), made_up_voice(model), 24000, seed=5, stream=False)
    bad = engine.submit(long)
    wait_until(lambda: engine.stats().step_rows.total > 0, "the job to be decoded")
    engine._loop.decode.decoder.cache.kv[0].fill_(float("nan"))
    got = outcomes(engine, requests)
    with pytest.raises(EngineError, match="not numbers"):
        list(bad.chunks())
    check(model, requests, got, {})


def test_a_voice_that_the_flow_cannot_speak_fails_alone(
    make_engine: MakeEngine, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A solver step that fails with a certain voice in it ends the job of that voice."""
    engine, requests = make_engine(), jobs(model)
    bad = torch.nn.functional.normalize(requests[2].voice.speaker, dim=-1)

    def has_it(_: Tensor, inputs: FlowInputs, *__: Any, **___: Any) -> bool:
        return holds(inputs.spk_bd, bad)

    fails = breaking(model.flow.velocity, has_it, RuntimeError())
    monkeypatch.setattr(model.flow, "velocity", fails)
    got = outcomes(engine, requests)
    monkeypatch.undo()
    check(model, requests, got, {2: EngineError})


def test_a_vocoder_that_fails_once_fails_one(
    make_engine: MakeEngine, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A window that fails alone as well as in a batch ends its job, and the next job is served."""
    vocoder = model.vocoders[24000]
    monkeypatch.setattr(
        vocoder, "render_window", breaking(vocoder.render_window, lambda *_, **__: True, RuntimeError())
    )
    engine, requests = make_engine(), jobs(model)
    assert [type(result) for result in outcomes(engine, requests[:1])] == [EngineError]
    monkeypatch.undo()
    check(model, requests, outcomes(engine, requests), {})


def test_a_bug_in_the_engine_ends_running_jobs_and_not_the_engine(
    make_engine: MakeEngine, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the book-keeping raises, running jobs end with EngineError, and the next ones are served."""
    engine, requests = make_engine(num_threads=1), jobs(model)
    monkeypatch.setattr(
        engine._scheduler, "decode_tasks", breaking(engine._scheduler.decode_tasks, lambda: True, RuntimeError("bug"))
    )
    assert {type(result) for result in outcomes(engine, requests)} == {EngineError}
    monkeypatch.undo()
    check(model, requests, outcomes(engine, requests), {})
    assert engine.stalled_seconds() < 60


@pytest.mark.parametrize("threads", [1, 2])
def test_work_that_no_thread_does_shows_as_a_stall(
    make_engine: MakeEngine, model: Model, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    """When every thread sleeps although a job could go on, the stall grows; it is 0 at the end."""
    engine, requests = make_engine(num_threads=threads), jobs(model)[:1]
    monkeypatch.setattr(engine._scheduler, "next_prefill", lambda: None)
    handle = engine.submit(requests[0])
    wait_until(lambda: engine.stalled_seconds() > 0.5, "the stall to grow")
    assert not handle.ended
    monkeypatch.undo()
    check(model, requests, [outcome(handle)], {})
    wait_until(lambda: engine.stalled_seconds() == 0.0, "the engine to be idle")
