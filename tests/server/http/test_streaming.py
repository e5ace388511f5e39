"""A job as a WSGI body: started, broken off, closed once or twice."""

from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np
import pytest

from glmtts.dsp.audio import Wave
from glmtts.engine.api import Report
from glmtts.errors import CancelledError, DeviceMemoryError, EngineError
from server.http.encoding import Resampler, make_encoder
from server.http.streaming import SpeechStream, collect


class Chunks:
    """A handle that yields `count` chunks and then ends, or fails with `error`."""

    def __init__(self, count: int, error: Exception | None = None) -> None:
        self.report = Report()
        self.count = count
        self.error = error

    def chunks(self) -> Iterator[Wave]:
        for index in range(self.count):
            yield np.full(100, index / 10, np.float32)
        if self.error is not None:
            raise self.error

    def cancel(self) -> None:
        self.error = None


def stream(handle: Chunks, closed: list[str], failed: list[Exception]) -> SpeechStream:
    body = SpeechStream(handle.chunks(), Resampler(24000, 24000), make_encoder("pcm", 24000, None), failed.append)
    held = ExitStack()
    held.callback(closed.append, "closed")
    body.own(held)
    return body


def test_all_chunks_come_in_order_and_then_the_end() -> None:
    """The body is the job's audio, the chunk that `begin` waited for included."""
    body = stream(Chunks(3), [], [])
    body.begin()
    samples = np.frombuffer(b"".join(body), "<i2")
    assert samples.tolist() == [round(index / 10 * 32767) for index in range(3) for _ in range(100)]


def test_an_early_failure_is_the_jobs_own_exception() -> None:
    """Before the first byte there is still a status to choose."""
    with pytest.raises(DeviceMemoryError):
        stream(Chunks(0, DeviceMemoryError("x")), [], []).begin()


def test_a_job_without_audio_is_a_failure() -> None:
    """An empty answer is never taken for speech, streamed or whole."""
    with pytest.raises(EngineError):
        stream(Chunks(0), [], []).begin()
    with pytest.raises(EngineError):
        collect(Chunks(0), Resampler(24000, 24000), lambda: None)


def test_a_late_failure_breaks_the_body_off() -> None:
    """After the first byte the body ends in an error that the server cannot take for an end."""
    failed: list[Exception] = []
    body = stream(Chunks(2, DeviceMemoryError("x")), [], failed)
    body.begin()
    assert [len(next(body)), len(next(body))] == [200, 200]
    with pytest.raises(BrokenPipeError):
        next(body)
    assert [type(error) for error in failed] == [DeviceMemoryError]
    assert next(body, None) is None


@pytest.mark.parametrize("started", [False, True])
def test_closing_gives_back_once_started_or_not(started: bool) -> None:
    """`close` may come before the first byte, in the middle, and twice; the caller has then hung up, once."""
    closed: list[str] = []
    failed: list[Exception] = []
    body = stream(Chunks(3), closed, failed)
    body.begin()
    if started:
        next(body)
    body.close()
    body.close()
    assert closed == ["closed"]
    assert [type(error) for error in failed] == [CancelledError]
    assert list(body) == []


def test_closing_after_the_end_is_no_hangup() -> None:
    """Whoever has taken it all has not gone away."""
    closed: list[str] = []
    failed: list[Exception] = []
    body = stream(Chunks(3), closed, failed)
    body.begin()
    assert list(body)
    body.close()
    assert (closed, failed) == (["closed"], [])
