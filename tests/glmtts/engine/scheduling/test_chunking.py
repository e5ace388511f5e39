"""A segment's chunks, for any schedule and however the tokens come."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmtts.engine.config import ChunkSchedule
from glmtts.engine.scheduling.chunking import Chunk, Chunker

SCHEDULES = st.builds(
    ChunkSchedule,
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=5).map(tuple),
    lookahead=st.integers(1, 12),
    left_context=st.integers(0, 60),
)
TOTALS = st.integers(1, 500)


def chunks(schedule: ChunkSchedule, total: int, counts: list[int]) -> list[Chunk]:
    """What is due when so many tokens are seen to exist, one sight after the other, and then the end."""
    chunker, results = Chunker(schedule), []
    for count, over in [*((count, False) for count in counts), (total, True)]:
        while chunk := chunker.next_chunk(count, over):
            results.append(chunk)
    return results


def one_by_one(schedule: ChunkSchedule, total: int) -> list[Chunk]:
    return chunks(schedule, total, list(range(total + 1)))


@given(SCHEDULES, TOTALS)
def test_joined_chunks_are_all_tokens(schedule: ChunkSchedule, total: int) -> None:
    """Chunks meet without gap or overlap from the first token to the last, none is empty, and one is the last."""
    results = one_by_one(schedule, total)
    assert results[0].start == 0
    assert results[-1].end == total
    assert all(before.end == after.start for before, after in pairwise(results))
    assert all(chunk.start < chunk.end for chunk in results)
    assert [chunk.last for chunk in results] == [False] * (len(results) - 1) + [True]


@given(SCHEDULES, TOTALS)
def test_the_work_of_a_chunk_is_bounded(schedule: ChunkSchedule, total: int) -> None:
    """A chunk needs its left context, its size and its lookahead, however long the segment is."""
    for index, chunk in enumerate(one_by_one(schedule, total)):
        size = schedule.sizes[min(index, len(schedule.sizes) - 1)]
        assert chunk.end - chunk.start == size or chunk.last
        assert chunk.lookahead_end - chunk.start <= size + schedule.lookahead
        assert chunk.start - chunk.context_start == min(schedule.left_context, chunk.start)


@given(SCHEDULES, TOTALS)
def test_lookahead_is_whole_or_at_the_end(schedule: ChunkSchedule, total: int) -> None:
    """Only the last chunk has no lookahead, and only a segment's single chunk is shorter than the lookahead."""
    results = one_by_one(schedule, total)
    for chunk in results:
        assert chunk.lookahead_end == (chunk.end if chunk.last else chunk.end + schedule.lookahead) <= total
    assert len(results) == 1 or results[-1].end - results[-1].start >= schedule.lookahead


@given(SCHEDULES, TOTALS, st.data())
def test_chunks_do_not_depend_on_when_tokens_come(schedule: ChunkSchedule, total: int, data: st.DataObject) -> None:
    """One at a time, in bursts or all at once: the same chunks."""
    counts = sorted(data.draw(st.lists(st.integers(0, total), max_size=20)))
    assert chunks(schedule, total, counts) == one_by_one(schedule, total) == chunks(schedule, total, [])


@given(SCHEDULES, TOTALS)
def test_a_chunk_is_due_as_soon_as_it_can_be(schedule: ChunkSchedule, total: int) -> None:
    """A chunk that is not the last needs its lookahead and not one token more."""
    chunker = Chunker(schedule)
    for count in range(total + 1):
        if chunk := chunker.next_chunk(count, eos=False):
            assert chunk.lookahead_end == count
            assert chunker.next_chunk(count, eos=False) is None


@given(SCHEDULES, TOTALS, st.integers(0, 500))
def test_remaining_chunks_are_predicted(schedule: ChunkSchedule, total: int, seen: int) -> None:
    """At any time, the chunks to come follow from the number of tokens; looking does not consume them."""
    chunker = Chunker(schedule)
    given_out = []
    while chunk := chunker.next_chunk(min(seen, total), eos=False):
        given_out.append(chunk)
    rest = list(chunker.remaining(total))
    assert rest == list(chunker.remaining(total))
    assert given_out + rest == one_by_one(schedule, total)


@given(SCHEDULES, st.sampled_from([0.5, 1.0, 2.0]))
def test_a_schedule_keeps_its_seconds_at_any_speed(schedule: ChunkSchedule, speed: float) -> None:
    """Chunks and left context last as long at any speed; the lookahead is a number of tokens."""
    other = schedule.scaled(speed, speed)
    assert [round(size * speed) or 1 for size in schedule.sizes] == list(other.sizes)
    assert (other.left_context, other.lookahead) == (round(schedule.left_context * speed), schedule.lookahead)


def test_a_segment_without_tokens_has_no_chunk() -> None:
    """The model may end at once: then there is nothing to make."""
    assert Chunker(ChunkSchedule()).next_chunk(0, eos=True) is None


@pytest.mark.parametrize("wrong", [{"sizes": ()}, {"sizes": (5, 0)}, {"lookahead": 0}, {"left_context": -1}])
def test_an_invalid_schedule_is_refused(wrong: dict[str, object]) -> None:
    """Sizes and lookahead are at least 1, the left context at least 0."""
    with pytest.raises(ValueError, match="expected sizes"):
        ChunkSchedule(**wrong)  # type: ignore[arg-type]  # tests give each its own type
