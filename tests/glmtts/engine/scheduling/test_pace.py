"""Chunk sizes by measured pace."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from glmtts.dsp.audio import TOKEN_RATE
from glmtts.engine.config import ChunkSchedule
from glmtts.engine.scheduling.pace import PLAY_SHARE, Pace, paced_schedule


def test_a_fast_machine_begins_with_little() -> None:
    """2.4 ms a token and 30 ms a chunk: ten tokens first, then twice as many each time, up to the schedule's last."""
    assert paced_schedule(ChunkSchedule(), Pace(0.0024, 0.03)).sizes == (10, 20, 40, 80, 100)


def test_what_the_vocoder_holds_back_does_not_play() -> None:
    """0.26 s of the first ten tokens' 0.4: what is left leaves 70 ms for the next chunk. 0.38 s leaves too little."""
    assert paced_schedule(ChunkSchedule(), Pace(0.0024, 0.03), 0.26).sizes == (10, 16, 32, 64, 100)
    assert paced_schedule(ChunkSchedule(), Pace(0.0024, 0.03), 0.38).sizes == (15, 30, 60, 100)


def test_a_slower_machine_grows_more_slowly() -> None:
    """12 ms a token and 40 ms a chunk: as large as half the time allows that the chunk before plays."""
    assert paced_schedule(ChunkSchedule(), Pace(0.012, 0.04)).sizes == (10, 13, 18, 26, 40, 63, 100)


def test_a_machine_that_could_not_follow_keeps_the_schedule() -> None:
    """A token in 30 ms, or a chunk in half a second."""
    for pace in (Pace(0.03, 0.01), Pace(0.002, 0.5)):
        assert paced_schedule(ChunkSchedule(), pace) == ChunkSchedule()


def test_a_schedule_that_begins_with_less_stays() -> None:
    """As it was set."""
    short = ChunkSchedule(sizes=(5, 100))
    assert paced_schedule(short, Pace(0.001, 0.01)) == short


@given(st.floats(0, 0.05), st.floats(0, 1), st.floats(0, 1))
def test_every_chunk_can_follow_the_one_before(token: float, chunk: float, delay: float) -> None:
    """Whatever the pace, unless the schedule stays as it is; and nothing but the sizes changes."""
    base, pace = ChunkSchedule(), Pace(token, chunk)
    paced = paced_schedule(base, pace, delay)
    assert (paced.lookahead, paced.left_context, paced.sizes[-1]) == (base.lookahead, base.left_context, base.sizes[-1])
    assert paced.sizes[0] <= base.sizes[0]
    if paced != base:
        for number, (size, following) in enumerate(pairwise(paced.sizes)):
            assert size < following
            assert pace.seconds(following) <= PLAY_SHARE * (size / TOKEN_RATE - (0 if number else delay))
