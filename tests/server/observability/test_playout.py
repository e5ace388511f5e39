"""The listener who plays what he gets as it comes."""

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
    """When each chunk was asked for, when it came, how long it sounds; from the pause before, the wait, the length."""
    now = 0.0
    for pause, wait, seconds in steps:
        asked = now + pause
        now = asked + wait
        yield asked, now, seconds


def heard(steps: list[Chunk]) -> float:
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
def test_what_a_listener_waits(steps: list[Chunk], waited: float) -> None:
    """Silence after the first sound, and only that which the reader did not make himself."""
    assert heard(steps) == pytest.approx(waited)


@given(chunks)
def test_a_prompt_reader_waits_as_long_as_the_worst_lateness(steps: list[Chunk]) -> None:
    """For one who always takes at once it is the largest gap between a chunk's coming and the sound before it."""
    prompt = [(0.0, wait, seconds) for _, wait, seconds in steps]
    came = [now for _, now, _ in times(prompt)]
    sound = np.cumsum([0.0, *(seconds for _, _, seconds in prompt)])
    worst = max(now - (came[0] + before) for now, before in zip(came, sound, strict=False))
    assert heard(prompt) == pytest.approx(max(0.0, worst), abs=1e-9)


@given(chunks)
def test_nobody_waits_longer_than_the_maker_took(steps: list[Chunk]) -> None:
    """A reader's own pauses never count."""
    assert 0.0 <= heard(steps) <= sum(wait for _, wait, _ in steps[1:]) + 1e-9


def test_the_chunks_go_through_unchanged() -> None:
    """And each is one that the listener got."""
    meter = UnderrunMeter()
    waves: list[Wave] = [np.full(24000, index, np.float32) for index in range(3)]
    through = list(measure_underruns(iter(waves), 24000, meter))
    assert all(one is other for one, other in zip(through, waves, strict=True))
    assert meter.underrun_seconds == 0.0, "three seconds of sound came at once"
