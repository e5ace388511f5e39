"""A request's job in the engine: its first chunk, its end, and what its record keeps."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from werkzeug.datastructures import Headers

from glmtts.dsp.audio import Wave
from glmtts.engine.api import Job
from glmtts.engine.runtime.fake import FakeEngine, FakeOptions
from glmtts.errors import CancelledError, DeviceMemoryError, EngineError
from server.http import continuation
from server.http.running_job import RunningJob
from server.observability.request_log import RequestRecord
from tests.helpers.server import recording


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    engine = FakeEngine(FakeOptions())
    yield engine
    engine.close()


def job(engine: FakeEngine, text: str = "One. Two.", *, stream: bool = True) -> Job:
    segments = tuple(engine.segments(text))
    return Job(segments, engine.make_voice(recording(), ""), engine.info.sample_rates[0], seed=1, stream=stream)


def record() -> RequestRecord:
    return RequestRecord.from_headers(Headers(), "/tts")


@pytest.mark.parametrize("stream", [False, True])
def test_chunks_include_the_one_that_was_waited_for(engine: FakeEngine, stream: bool) -> None:
    """All audio is there, and the record knows when it began and how to go on."""
    with RunningJob(engine, job(engine, stream=stream), record()) as running:
        assert running.record.first_audio_seconds is None
        running.wait_for_audio()
        assert running.record.first_audio_seconds is not None
        samples = sum(map(len, running.chunks()))
        report = running.record.report
        assert report is not None
        assert samples / engine.info.sample_rates[0] == pytest.approx(report.audio_seconds)
        assert (running.record.underrun_meter is not None) == stream
        assert running.record.continuation is not None
        done = continuation.decode(running.record.continuation, engine.info)
        assert (done.segments, done.history) == (2, report.history)
    assert report.history == (), "the ids take too much memory to be kept with the record"


def test_an_early_failure_is_the_jobs_own_error(engine: FakeEngine) -> None:
    """Before the first byte there is still a status to choose."""
    with RunningJob(engine, job(engine, "FAULT-MEMORY."), record()) as running, pytest.raises(DeviceMemoryError):
        running.wait_for_audio()


class Silent(RunningJob):
    """A job that ends without audio, which no engine should do."""

    def __init__(self, engine: FakeEngine) -> None:
        super().__init__(engine, job(engine), record())
        no_chunks: list[Wave] = []
        self._chunks = iter(no_chunks)


def test_a_job_without_audio_is_a_failure(engine: FakeEngine) -> None:
    """An empty response is never taken for speech."""
    with Silent(engine) as running, pytest.raises(EngineError, match="without audio"):
        running.wait_for_audio()


def test_a_disconnect_cancels_the_job() -> None:
    """Its reader gets CancelledError, and the record says why."""
    engine = FakeEngine(FakeOptions(delay=0.05))  # so that the job is far from its end
    with RunningJob(engine, job(engine, "a" * 2000), record()) as running:
        running.wait_for_audio()
        running.on_disconnect(False)
        with pytest.raises(CancelledError):
            list(running.chunks())
    assert running.record.disconnected
    assert running.record.cancellation() == "disconnected"
    engine.close()
