"""A segment's blocks, whatever the ladder and however the tokens come."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmtts.engine.scheduling.chunking import Block, Chunker, Ladder

LADDERS = st.builds(
    Ladder,
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=5).map(tuple),
    ahead=st.integers(1, 12),
    window=st.integers(0, 60),
)
TOTALS = st.integers(1, 500)


def blocks(ladder: Ladder, total: int, counts: list[int]) -> list[Block]:
    """What is due when so many tokens are seen to exist, one sight after the other, and then the end."""
    chunker, found = Chunker(ladder), []
    for count, over in [*((count, False) for count in counts), (total, True)]:
        while block := chunker.due(count, over):
            found.append(block)
    return found


def one_by_one(ladder: Ladder, total: int) -> list[Block]:
    return blocks(ladder, total, list(range(total + 1)))


@given(LADDERS, TOTALS)
def test_joined_blocks_are_all_tokens(ladder: Ladder, total: int) -> None:
    """Blocks meet without gap or overlap from the first token to the last, none is empty, and one is the last."""
    found = one_by_one(ladder, total)
    assert found[0].start == 0
    assert found[-1].end == total
    assert all(before.end == after.start for before, after in pairwise(found))
    assert all(block.start < block.end for block in found)
    assert [block.last for block in found] == [False] * (len(found) - 1) + [True]


@given(LADDERS, TOTALS)
def test_the_work_of_a_block_is_bounded(ladder: Ladder, total: int) -> None:
    """A block reads no more than window, its step of the ladder and one look-ahead, however long the segment is."""
    for index, block in enumerate(one_by_one(ladder, total)):
        size = ladder.sizes[min(index, len(ladder.sizes) - 1)]
        assert block.end - block.start == size or block.last
        assert block.ahead - block.start <= size + ladder.ahead
        assert block.start - block.window == min(ladder.window, block.start)


@given(LADDERS, TOTALS)
def test_look_ahead_is_whole_or_at_the_end(ladder: Ladder, total: int) -> None:
    """Only the last block looks ahead at nothing, and only a segment's only block is shorter than the look-ahead."""
    found = one_by_one(ladder, total)
    assert all(block.ahead == (block.end if block.last else block.end + ladder.ahead) <= total for block in found)
    assert len(found) == 1 or found[-1].end - found[-1].start >= ladder.ahead


@given(LADDERS, TOTALS, st.data())
def test_blocks_do_not_depend_on_when_tokens_come(ladder: Ladder, total: int, data: st.DataObject) -> None:
    """One at a time, in bursts or all at once: the same blocks."""
    counts = sorted(data.draw(st.lists(st.integers(0, total), max_size=20)))
    assert blocks(ladder, total, counts) == one_by_one(ladder, total) == blocks(ladder, total, [])


@given(LADDERS, TOTALS)
def test_a_block_is_due_as_soon_as_it_can_be(ladder: Ladder, total: int) -> None:
    """A block that is not the last needs its look-ahead and not one token more."""
    chunker = Chunker(ladder)
    for count in range(total + 1):
        if block := chunker.due(count, over=False):
            assert block.ahead == count
            assert chunker.due(count, over=False) is None


@given(LADDERS, TOTALS, st.integers(0, 500))
def test_the_rest_is_foreseen(ladder: Ladder, total: int, seen: int) -> None:
    """At any time, the blocks to come are foreseen from the number of tokens, and not used up by it."""
    chunker = Chunker(ladder)
    given_out = []
    while block := chunker.due(min(seen, total), over=False):
        given_out.append(block)
    rest = list(chunker.rest(total))
    assert rest == list(chunker.rest(total))
    assert given_out + rest == one_by_one(ladder, total)


@given(LADDERS, st.sampled_from([0.5, 1.0, 2.0]))
def test_a_ladder_keeps_its_seconds_at_any_speed(ladder: Ladder, speed: float) -> None:
    """Blocks and window last as long, whatever the speed; the look-ahead is of tokens."""
    other = ladder.at(speed)
    assert [round(size * speed) or 1 for size in ladder.sizes] == list(other.sizes)
    assert (other.window, other.ahead) == (round(ladder.window * speed), ladder.ahead)


def test_a_segment_without_tokens_has_no_block() -> None:
    """The model may end at once: then there is nothing to make."""
    assert Chunker(Ladder()).due(0, over=True) is None


@pytest.mark.parametrize("wrong", [{"sizes": ()}, {"sizes": (5, 0)}, {"ahead": 0}, {"window": -1}])
def test_a_ladder_that_leads_nowhere_is_refused(wrong: dict[str, object]) -> None:
    """Sizes and look-ahead are at least 1, the window at least 0."""
    with pytest.raises(ValueError, match="wanted"):
        Ladder(**wrong)  # type: ignore[arg-type]  # tests give each its own type
