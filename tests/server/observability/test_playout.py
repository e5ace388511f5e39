"""Playout underruns of a listener who plays each chunk as it arrives."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmtts.dsp.audio import Wave
from server.observability.playout import UnderrunMeter, measure_underruns

Chunk = tuple[float, float, float]
pauses = st.floats(0, 5)
chunks = st.lists(st.tuples(pauses, pauses, st.floats(0.01, 5)), min_size=1, max_size=20)


def times(steps: list[Chunk]) -> Iterator[Chunk]:
    """Request time, arrival time and duration of each chunk, from its pause, wait and duration."""
    now = 0.0
    for pause, wait, seconds in steps:
        request_time = now + pause
        now = request_time + wait
        yield request_time, now, seconds


def underrun(steps: list[Chunk]) -> float:
    meter = UnderrunMeter()
    for step in times(steps):
        meter.on_chunk(*step)
    return meter.underrun_seconds


@pytest.mark.parametrize(
    ("steps", "waited"),
    [
        ([(0, 9, 1)], 0.0),
        ([(0, 9, 1), (0, 1, 1), (0, 1, 1)], 0.0),
        ([(0, 0, 1), (0, 1.5, 1), (0, 1.25, 1)], 0.75),
        ([(0, 0, 1), (0, 0.5, 1), (0, 2.0, 1)], 0.5),
        ([(0, 0, 1), (10, 0, 1), (0, 1, 1)], 0.0),
        ([(0, 0, 1), (10, 0.5, 1)], 0.5),
    ],
    ids=["the first wait", "just in time", "twice late", "late after a lead", "the reader's pause", "both"],
)
def test_underruns_are_measured(steps: list[Chunk], waited: float) -> None:
    """Silence after the first audio, without that of the reader's own pauses."""
    assert underrun(steps) == pytest.approx(waited)


@given(chunks)
def test_without_pauses_the_underrun_is_the_largest_gap(steps: list[Chunk]) -> None:
    """For a reader without pauses it is the largest gap between a chunk's arrival and the audio before it."""
    prompt = [(0.0, wait, seconds) for _, wait, seconds in steps]
    arrivals = [now for _, now, _ in times(prompt)]
    sound = np.cumsum([0.0, *(seconds for _, _, seconds in prompt)])
    worst = max(now - (arrivals[0] + before) for now, before in zip(arrivals, sound, strict=False))
    assert underrun(prompt) == pytest.approx(max(0.0, worst), abs=1e-9)


@given(chunks)
def test_the_underrun_is_at_most_the_wait_for_chunks(steps: list[Chunk]) -> None:
    """The reader's own pauses never count."""
    assert 0.0 <= underrun(steps) <= sum(wait for _, wait, _ in steps[1:]) + 1e-9


def test_chunks_pass_unchanged() -> None:
    """And none is lost."""
    meter = UnderrunMeter()
    waves: list[Wave] = [np.full(24000, index, np.float32) for index in range(3)]
    through = list(measure_underruns(iter(waves), 24000, meter))
    assert all(one is other for one, other in zip(through, waves, strict=True))
    assert meter.underrun_seconds == 0.0, "three seconds of audio arrived at once"
