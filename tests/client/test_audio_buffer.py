"""The buffer between the thread that fetches audio and the thread that reads it."""

from __future__ import annotations

import threading

import pytest
from glmtts_client.audio_buffer import AudioBuffer
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.consul import eventually

SECOND = b"\0" * 2 * 8000


def started(max_seconds: float = 1.0) -> AudioBuffer:
    buffer = AudioBuffer(max_seconds)
    buffer.on_start(8000)
    return buffer


@given(st.lists(st.binary(min_size=1), max_size=5), st.booleans())
def test_chunks_come_out_in_order(chunks: list[bytes], failed: bool) -> None:
    """The writer's error comes after the last chunk."""
    buffer = started()
    for chunk in chunks:
        buffer.on_samples(chunk)
    buffer.finish(ValueError("broken") if failed else None)
    assert [buffer.read() for _ in chunks] == chunks
    assert buffer.buffered_seconds == 0
    if failed:
        with pytest.raises(ValueError, match="broken"):
            buffer.read()
    else:
        assert buffer.read() is None


def test_the_writer_waits_for_space() -> None:
    """It goes on when the reader has taken enough, or has closed the buffer."""
    for make_space in (AudioBuffer.read, AudioBuffer.close):
        buffer = started(max_seconds=1.5)
        buffer.on_samples(SECOND)
        buffer.wait_for_space()
        buffer.on_samples(SECOND)
        writer = threading.Thread(target=buffer.wait_for_space)
        writer.start()
        assert buffer.buffered_seconds == 2.0
        assert writer.is_alive()
        make_space(buffer)
        eventually(lambda thread=writer: not thread.is_alive())  # type: ignore[misc]


def test_a_closed_buffer_is_empty() -> None:
    """Whatever the writer does afterwards."""
    buffer = started()
    buffer.on_samples(SECOND)
    buffer.close()
    buffer.on_samples(SECOND)
    buffer.finish(ValueError("broken"))
    assert buffer.read() is None
    assert buffer.buffered_seconds == 0


def test_the_sample_rate() -> None:
    """Known from the start on; a buffer that ended before has none."""
    assert started().wait_for_sample_rate() == 8000
    failed, closed = AudioBuffer(1.0), AudioBuffer(1.0)
    failed.finish(ValueError("broken"))
    closed.close()
    with pytest.raises(ValueError, match="broken"):
        failed.wait_for_sample_rate()
    with pytest.raises(RuntimeError, match="closed"):
        closed.wait_for_sample_rate()
