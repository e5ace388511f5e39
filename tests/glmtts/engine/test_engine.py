"""The engine on a tiny checkpoint: what it says is what offline synthesis says, whoever else is served."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from glmtts.checkpoint.loader import Model
from glmtts.dsp.audio import Wave
from glmtts.engine.api import Job
from glmtts.engine.config import SchedulerLimits
from glmtts.engine.runtime.engine import BatchEngine
from glmtts.engine.runtime.offline import SynthesisResult, synthesize
from glmtts.errors import (
    CancelledError,
    EngineError,
    InputError,
    QueueFullError,
    QueueTimeoutError,
    TextError,
    UnsupportedError,
)
from glmtts.text.frontend.frontend import Segment
from tests.helpers.server import wait_until
from tests.helpers.voices import made_up_voice

MakeEngine = Callable[..., BatchEngine]
TEXTS = ["你好世界", "Hello there, old friend.", "今天天气很好。", "Good."]


def job(model: Model, text: str = TEXTS[0], **options: object) -> Job:
    """A job in a made-up voice at 24 kHz."""
    options = {"voice": made_up_voice(model), "sample_rate": 24000, "seed": 3} | options
    return Job(tuple(model.frontend.segments(text)), **options)  # type: ignore[arg-type]  # each of its own type


def long_job(model: Model, **options: object) -> Job:
    """A job of one segment that takes hundreds of steps."""
    return Job((Segment(0, "", (9,) * 80),), made_up_voice(model), 24000, seed=1, **options)  # type: ignore[arg-type]


def wave_of(engine: BatchEngine, request: Job) -> Wave:
    return np.concatenate([np.zeros(0, np.float32), *engine.submit(request).chunks()])


def offline(model: Model, text: str, request: Job) -> SynthesisResult:
    options = {
        "seed": request.seed,
        "speed": request.speed,
        "use_history": request.use_history,
        "sample_rate": request.sample_rate,
    }
    return synthesize(model, text, request.voice, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("speed", [1.0, 0.7])
def test_a_whole_job_is_what_offline_synthesis_says(
    make_engine: MakeEngine, model: Model, threads: int, speed: float
) -> None:
    """Without `stream` the samples are those of offline synthesis, over several segments with history."""
    text = "，".join("今天天气很好" for _ in range(8)) + "。"
    request = job(model, text, stream=False, speed=speed)
    engine = make_engine(num_threads=threads)
    handle = engine.submit(request)
    made = np.concatenate(list(handle.chunks()))
    alone = offline(model, text, request)
    np.testing.assert_allclose(made, alone.wave, atol=1e-5)
    report = handle.report
    assert len(request.segments) > 1
    assert (report.finish_reason, report.speech_tokens) == (alone.report.finish_reason, alone.report.speech_tokens)
    assert (report.text_ids, report.segments_done) == (alone.report.text_ids, alone.report.segments_done)
    assert report.audio_seconds == pytest.approx(alone.report.audio_seconds)
    assert set(report.stage_seconds) == {"queue", "prefill", "decode", "flow", "vocoder"}


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_jobs_served_together_say_what_each_says_alone(make_engine: MakeEngine, model: Model, threads: int) -> None:
    """Eight jobs at once, of several texts, speeds and kinds, over four slots: those not streamed equal offline."""
    engine = make_engine(max_num_seqs=4, num_threads=threads)
    requests = [
        job(model, TEXTS[i % 4], seed=i, speed=(1.0, 1.3)[i % 2], stream=i % 4 == 3, voice=made_up_voice(model, 10 + i))
        for i in range(8)
    ]
    handles = [engine.submit(one) for one in requests]
    for i, (one, handle) in enumerate(zip(requests, handles, strict=True)):
        made, alone = np.concatenate(list(handle.chunks())), offline(model, TEXTS[i % 4], one).wave
        assert len(made) == len(alone)
        if not one.stream:
            np.testing.assert_allclose(made, alone, atol=1e-4)
    assert engine.stats().step_rows.total > sum(engine.stats().step_rows.counts), "rows must have shared steps"


def test_listeners_of_one_new_voice_share_its_prefill(make_engine: MakeEngine, model: Model) -> None:
    """With two audio workers and a voice that is not cached, each stream is what it is alone."""
    requests = [job(model, text, seed=i) for i, text in enumerate(TEXTS)]
    alone = [wave_of(make_engine(), one) for one in requests]
    engine = make_engine(num_threads=3)
    handles = [engine.submit(one) for one in requests]
    for handle, wave in zip(handles, alone, strict=True):
        np.testing.assert_allclose(np.concatenate(list(handle.chunks())), wave, atol=1e-4)
    one_voice = make_engine(num_threads=2)
    list(one_voice.submit(requests[0]).chunks())
    assert engine.stats().voice_cache_bytes == one_voice.stats().voice_cache_bytes > 0


def test_a_stream_begins_while_it_is_being_decoded(make_engine: MakeEngine, model: Model) -> None:
    """The first chunk of a long segment comes before its last token; all chunks together have the exact length."""
    engine = make_engine()
    handle = engine.submit(long_job(model))
    chunks = handle.chunks()
    first = next(chunks)
    assert handle.report.finish_reason is None
    assert 0.3 < len(first) / 24000 < 0.6
    rest = list(chunks)
    assert len(first) + sum(map(len, rest)) == 960 * handle.report.speech_tokens
    assert handle.report.speech_tokens > 240


@pytest.mark.parametrize("speed", [0.5, 2.0])
def test_a_stream_keeps_its_speed(make_engine: MakeEngine, model: Model, speed: float) -> None:
    """At any speed a stream is as long as the whole utterance is, and its first chunk as long as at speed 1."""
    engine = make_engine()
    handle = engine.submit(long_job(model, speed=speed))
    chunks = list(handle.chunks())
    assert sum(map(len, chunks)) == 480 * round(2 * handle.report.speech_tokens / speed)
    assert 0.3 < len(chunks[0]) / 24000 < 0.6


def test_a_cancelled_job_gives_its_slot_back(make_engine: MakeEngine, model: Model) -> None:
    """Running or in the queue, a cancelled job is gone, and the next one is served."""
    engine = make_engine(max_num_seqs=1)
    running = engine.submit(long_job(model))
    next(running.chunks())
    queued, last = engine.submit(long_job(model)), engine.submit(job(model))
    queued.cancel()
    running.cancel()
    for handle in (running, queued):
        with pytest.raises(CancelledError):
            list(handle.chunks())
        assert handle.report.finish_reason == "cancelled"
    assert list(last.chunks())


def test_a_deadline_holds_in_the_queue_and_no_longer(make_engine: MakeEngine, model: Model) -> None:
    """A job that is not admitted before its deadline fails; one that was admitted may finish after it."""
    engine = make_engine(max_num_seqs=1)
    soon = time.monotonic() + 0.2
    first = engine.submit(long_job(model, stream=False, deadline=soon))
    late = engine.submit(job(model, deadline=soon))
    with pytest.raises(QueueTimeoutError):
        list(late.chunks())
    assert list(first.chunks())


def test_the_queue_is_bounded(make_engine: MakeEngine, model: Model) -> None:
    """One more than may wait is refused, with an estimate of when to retry."""
    engine = make_engine(max_num_seqs=1, max_queued=1)
    running = engine.submit(long_job(model))
    wait_until(lambda: engine.num_waiting() == 0, "the first job to run")
    waiting = engine.submit(job(model))
    assert engine.backlog_seconds() > 0
    with pytest.raises(QueueFullError) as caught:
        engine.submit(job(model))
    assert caught.value.retry_after >= 1.0
    running.cancel()
    assert list(waiting.chunks())


def test_what_cannot_be_done_is_refused_at_once(make_engine: MakeEngine, model: Model) -> None:
    """An unknown rate, a speed out of range and a voice that leaves no room are errors of the request."""
    engine = make_engine()
    with pytest.raises(UnsupportedError):
        engine.submit(job(model, sample_rate=16000))
    with pytest.raises(InputError):
        engine.submit(job(model, speed=4.1))
    with pytest.raises(TextError):
        engine.submit(job(model, voice=made_up_voice(model, 2040)))


def test_a_job_pauses_for_a_slow_reader_and_is_cancelled_in_the_end(make_engine: MakeEngine, model: Model) -> None:
    """Past the bound nothing more is made; a reader that goes on gets the rest, and one that does not is dropped."""
    engine = make_engine(limits=SchedulerLimits(max_buffered_seconds=0.5, reader_timeout=1000.0))
    handle = engine.submit(long_job(model))
    wait_until(lambda: engine.stats().backpressured_jobs == 1, "the job to be paused")
    made = handle.report.audio_seconds
    assert made < 4.0
    assert engine.stats().buffered_seconds == pytest.approx(made)
    assert sum(map(len, handle.chunks())) == 960 * handle.report.speech_tokens
    impatient = make_engine(limits=SchedulerLimits(max_buffered_seconds=0.5, reader_timeout=0.1))
    lost = impatient.submit(long_job(model))
    wait_until(lambda: lost.ended, "the job to be cancelled")
    with pytest.raises(CancelledError):
        list(lost.chunks())


def test_closing_ends_what_runs_and_refuses_the_rest(make_engine: MakeEngine, model: Model) -> None:
    """After `close` no job runs and none is taken; with grace a short one may finish first."""
    engine = make_engine(max_num_seqs=1)
    handles = [engine.submit(long_job(model)) for _ in range(2)]
    engine.close()
    for handle in handles:
        with pytest.raises(CancelledError):
            list(handle.chunks())
    with pytest.raises(EngineError):
        engine.submit(job(model))
    graceful = make_engine()
    handle = graceful.submit(job(model))
    graceful.close(grace=60.0)
    assert handle.report.finish_reason in ("stop", "length")


def test_a_speaker_that_the_model_knows_is_spoken_as_such(make_engine: MakeEngine, model: Model) -> None:
    """By the name of the stored voice; another name is `unknown`. As offline."""
    tuned = replace(model, speakers={"unknown": (9, 11), "tongtong": (9, 12, 13)})
    engine = make_engine(of=tuned, deterministic=True, max_num_seqs=2)
    waves = {name: wave_of(engine, job(model, speaker=name, stream=False)) for name in ("", "tongtong", "other")}
    assert np.array_equal(waves[""], waves["other"])
    assert not np.array_equal(waves[""], waves["tongtong"])
    request = job(model, speaker="tongtong", stream=False)
    expected = synthesize(tuned, TEXTS[0], request.voice, seed=request.seed, speaker="tongtong")
    handle = engine.submit(request)
    list(handle.chunks())
    assert handle.report.speech_tokens == sum(map(len, expected.tokens))
    assert [tokens for _, tokens in handle.report.history] == list(expected.tokens)


@pytest.mark.slow
def test_tokens_do_not_depend_on_neighbours(make_engine: MakeEngine, model: Model) -> None:
    """With `deterministic`, a job has the same tokens and the same audio alone and among 15 others."""
    engine = make_engine(deterministic=True, max_num_seqs=16)
    request = job(model, "今天天气很好，我们走吧。", stream=False)
    before = engine.submit(request)
    alone = np.concatenate(list(before.chunks()))
    with engine._queue.changed:  # all at once
        others = [engine.submit(job(model, TEXTS[i % 4] * (1 + i % 3), seed=100 + i, stream=False)) for i in range(15)]
        between = engine.submit(request)
    among = np.concatenate(list(between.chunks()))
    for other in others:
        assert list(other.chunks())
    assert between.report.history == before.report.history != ()
    np.testing.assert_allclose(among, alone, atol=1e-5)
    assert engine.stats().step_rows.counts[-6] > 0, "16 rows must have been in one step"


def test_a_long_prompt_does_not_hold_up_rows_that_decode(
    make_engine: MakeEngine, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that decodes gets a token after each chunk of another's prompt; no chunk is longer than the limit."""
    widths, extend = [], model.llm.forward_cached

    def noted(ids: Tensor, *args: Any, **options: Any) -> Tensor:
        widths.append(ids.shape[1])
        return extend(ids, *args, **options)

    monkeypatch.setattr(model.llm, "forward_cached", noted)
    engine = make_engine(limits=SchedulerLimits(prefill_chunk=8))
    with engine._queue.changed:  # the second one's prompt is fed while the first decodes
        first, second = engine.submit(long_job(model)), engine.submit(job(model, TEXTS[1], stream=False))
    for handle in (first, second):
        assert list(handle.chunks())
    decoding = widths[widths.index(1) :]
    assert max(widths) == 8
    assert decoding.count(8) > 3
    assert (8, 8) not in pairwise(decoding)


def test_markup_is_read_where_an_option_says_so(make_engine: MakeEngine) -> None:
    """By default signs of Markdown and HTML are left out."""
    texts = {strip: make_engine(strip_markup=strip).segments("1 &lt; **2**")[0].text for strip in (True, False)}
    assert texts[True] == "one less than two."
    assert texts[False] != texts[True]
