"""A job's audio as a WSGI body: started, cut short, closed once or twice."""

from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np
import pytest

from glmtts.dsp.audio import Wave
from glmtts.errors import CancelledError, DeviceMemoryError
from server.errors import ErrorInfo, to_error_info
from server.http.encoding import make_encoder
from server.http.provenance import Provenance
from server.http.streaming import BareAudio, SpeechStream


def chunks(count: int, error: Exception | None = None) -> Iterator[Wave]:
    """Yields `count` chunks and then ends, or fails with `error`."""
    for index in range(count):
        yield np.full(100, index / 10, np.float32)
    if error is not None:
        raise error


def stream(waves: Iterator[Wave], closed: list[str], failed: list[Exception]) -> SpeechStream:
    resources = ExitStack()
    resources.callback(closed.append, "closed")
    encoder = make_encoder("pcm", 24000, 24000, Provenance("nano", "7"), streamed=True)

    def on_error(error: Exception) -> ErrorInfo:
        failed.append(error)
        return to_error_info(error)

    return SpeechStream(waves, encoder, BareAudio(), on_error, resources)


def test_all_chunks_come_in_order_and_then_the_end() -> None:
    """The body is the job's audio."""
    samples = np.frombuffer(b"".join(stream(chunks(3), [], [])), "<i2")
    assert samples.tolist() == [round(index / 10 * 32767) for index in range(3) for _ in range(100)]


def test_a_late_failure_cuts_the_body_short() -> None:
    """After the first byte the body ends in an error that the server cannot take for an end."""
    failed: list[Exception] = []
    body = stream(chunks(2, DeviceMemoryError("x")), [], failed)
    assert [len(next(body)), len(next(body))] == [200, 200]
    with pytest.raises(BrokenPipeError):
        next(body)
    assert [type(error) for error in failed] == [DeviceMemoryError]
    assert next(body, None) is None


@pytest.mark.parametrize("started", [False, True])
def test_closing_releases_everything_started_or_not(started: bool) -> None:
    """`close` may come before the first byte, in the middle, and twice; that is one disconnect."""
    closed: list[str] = []
    failed: list[Exception] = []
    body = stream(chunks(3), closed, failed)
    if started:
        next(body)
    body.close()
    body.close()
    assert closed == ["closed"]
    assert [type(error) for error in failed] == [CancelledError]
    assert list(body) == []


def test_closing_after_the_end_is_no_disconnect() -> None:
    """A client that has read everything has not gone away."""
    closed: list[str] = []
    failed: list[Exception] = []
    body = stream(chunks(3), closed, failed)
    assert list(body)
    body.close()
    assert (closed, failed) == (["closed"], [])
