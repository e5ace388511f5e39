"""The fake engine keeps the contract of the real one."""

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from glmtts.engine.api import Engine, Job
from glmtts.engine.runtime.fake import FakeEngine, FakeOptions
from glmtts.errors import (
    AudioDecodeError,
    CancelledError,
    CheckpointError,
    DeviceMemoryError,
    EngineError,
    QueueFullError,
    QueueTimeoutError,
    TextError,
)
from tests.helpers.server import recording, wait_until


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    engine = FakeEngine(FakeOptions(max_queued=2))
    yield engine
    engine.close()
    assert not engine._thread.is_alive()


def job(engine: Engine, text: str, *, seed: int = 1, deadline: float | None = None, speed: float = 1.0) -> Job:
    voice = engine.make_voice(recording(), "")
    return Job(tuple(engine.segments(text)), voice, 24000, seed, speed=speed, deadline=deadline)


def test_speech_has_a_known_length(engine: FakeEngine) -> None:
    """A tenth of a second a character, shortened by speed, in chunks; the report says so."""
    handle = engine.submit(job(engine, "Hello. World!", speed=2.0))
    pieces = list(handle.chunks())
    assert sum(map(len, pieces)) == round(0.6 * 24000 / 2) * 2
    assert len(pieces) > 2
    assert handle.report.finish_reason == "stop"
    assert handle.report.segments_done == 2
    assert handle.report.audio_seconds == pytest.approx(0.6)


def test_the_seed_decides_the_sound(engine: FakeEngine) -> None:
    """Same seed, same samples; another seed, others."""
    first, same, other = (
        np.concatenate(list(engine.submit(job(engine, "Hello.", seed=seed)).chunks())) for seed in (1, 1, 2)
    )
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


def test_the_index_of_a_segment_and_its_history_decide_it_too(engine: FakeEngine) -> None:
    """As in the real engine; and another device samples other tokens."""

    def sound(engine: FakeEngine, **more: object) -> bytes:
        request = replace(job(engine, "Hello."), **more)
        return np.concatenate(list(engine.submit(request).chunks())).tobytes()

    drifting = FakeEngine(FakeOptions(drift=0.02))
    moved = (replace(engine.segments("Hello.")[0], index=1),)
    sounds = [
        sound(engine),
        sound(engine, segments=moved),
        sound(engine, history=(((1,), (2,)),)),
        sound(engine, history=(((1,), (3,)),)),
        sound(drifting),
    ]
    drifting.close()
    assert len(set(sounds)) == 5
    assert sound(engine, history=(((1,), (2,)),), use_history=False) == sound(engine)


def test_what_cannot_be_spoken_or_heard_is_refused(engine: FakeEngine) -> None:
    """Emoji alone are no text, and bytes that are no audio no voice."""
    with pytest.raises(TextError):
        engine.segments("🙂🙂!")
    with pytest.raises(AudioDecodeError):
        engine.make_voice(b"no audio at all", "")


@pytest.mark.parametrize(("text", "kind"), [("FAULT-MEMORY.", DeviceMemoryError), ("FAULT-ENGINE.", EngineError)])
def test_requested_faults_happen_and_the_next_job_works(engine: FakeEngine, text: str, kind: type[Exception]) -> None:
    """A failing job fails alone."""
    with pytest.raises(kind):
        list(engine.submit(job(engine, text)).chunks())
    assert list(engine.submit(job(engine, "Hello.")).chunks())


def test_the_queue_is_bounded_and_deadlines_hold_in_it(engine: FakeEngine) -> None:
    """Past the last place QueueFullError; a job that waits too long QueueTimeoutError; the backlog is reported."""
    hanging = engine.submit(job(engine, "HANG."))
    wait_until(lambda: engine.num_waiting() == 0, "the first job to run")
    waiting = [engine.submit(job(engine, "Hello.", deadline=time.monotonic() + 0.1)) for _ in range(2)]
    assert engine.num_waiting() == 2
    assert engine.backlog_seconds() == pytest.approx(0.5 + 2 * 0.6)
    with pytest.raises(QueueFullError):
        engine.submit(job(engine, "Hello."))
    with pytest.raises(QueueTimeoutError):
        list(waiting[0].chunks())
    hanging.cancel()
    hanging.cancel()
    with pytest.raises(CancelledError):
        list(hanging.chunks())
    assert hanging.report.finish_reason == "cancelled"


def test_closing_cancels_what_runs_and_refuses_the_rest() -> None:
    """After `close` no job runs and none is taken."""
    engine = FakeEngine()
    handle = engine.submit(job(engine, "HANG."))
    again = job(engine, "Hello.")
    engine.close()
    with pytest.raises(CancelledError):
        list(handle.chunks())
    with pytest.raises(EngineError):
        engine.submit(again)


def test_options_are_parsed_and_unknown_ones_named() -> None:
    """`load=2,fail` and the like; a load that is to fail raises CheckpointError."""
    assert FakeOptions.parse("load=2,delay=0.5") == FakeOptions(load=2.0, delay=0.5)
    assert FakeOptions.parse("") == FakeOptions()
    with pytest.raises(ValueError, match="colour"):
        FakeOptions.parse("colour=1")
    with pytest.raises(CheckpointError):
        FakeEngine.load(FakeOptions.parse("fail"))
