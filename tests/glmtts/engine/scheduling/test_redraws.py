"""Which draws are implausible, when a segment is drawn again, and which draw is spoken."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmtts.config import GenerationConfig
from glmtts.engine.scheduling.redraws import SegmentDraws, worse
from glmtts.errors import CheckpointError
from glmtts.models.llm.prompt import length_bounds

REDRAWS = GenerationConfig(
    min_ratio=0.0,
    min_tokens=2,
    max_ratio=8.0,
    tokens_per_id=2.0,
    base_tokens=4.0,
    min_length_ratio=0.5,
    max_length_ratio=2.0,
    max_redraws=2,
    max_redraw_tokens=40,
)
"""3 ids are expected to have 10 tokens and may have 5 to 19; 20 ids, which are not short, 44, and 22 to 88."""
SHORT, LONG = 3, 20
CUT = 20
"""Length of a short segment at its maximum."""


def speak(ids: int, lengths: list[int], generation: GenerationConfig = REDRAWS) -> tuple[SegmentDraws, list[str]]:
    """Draws of these lengths, each of tokens of its own, and the reasons for which they were drawn again.

    A draw that reaches its maximum is cut there. One of length −1 never ends.
    """
    draws, reasons = SegmentDraws(generation, ids, length_bounds(ids, generation)), []
    for number, length in enumerate(lengths):
        step = 0
        while not draws.done and draws.attempt == number:
            reason = draws.add(None if step == length else 100 * number + step)
            reasons += [reason] if reason else []
            step += 1
    return draws, reasons


@pytest.mark.parametrize(
    ("length", "reason"),
    [(2, "below_floor"), (4, "implausible_length"), (5, None), (19, None), (CUT, "at_ceiling"), (-1, "at_ceiling")],
)
def test_a_short_draw_is_judged_by_its_length(length: int, reason: str | None) -> None:
    """At the floor, at the ceiling, and far from what the text suggests, it is drawn again."""
    draws, reasons = speak(SHORT, [length])
    assert reasons == [reason] * (reason is not None)
    assert draws.done == (reason is None)


def test_the_first_plausible_draw_is_spoken() -> None:
    draws, reasons = speak(SHORT, [2, -1, 9])
    assert reasons == ["below_floor", "at_ceiling"]
    assert draws.tokens == list(range(200, 209))
    assert (draws.attempt, draws.finish_reason) == (2, "stop")


@pytest.mark.parametrize(
    ("lengths", "spoken", "finish"),
    [([3, 4, 2], 1, "implausible"), ([-1, -1, -1], 0, "length"), ([3, -1, 2], 0, "implausible")],
)
def test_of_three_implausible_draws_the_nearest_is_spoken(lengths: list[int], spoken: int, finish: str) -> None:
    """Of equally near ones the first."""
    draws, reasons = speak(SHORT, lengths)
    assert (len(reasons), draws.attempt, draws.done) == (2, 2, True)
    assert {token // 100 for token in draws.tokens} == {spoken}
    assert draws.finish_reason == finish


def test_a_longer_segment_is_drawn_again_only_before_its_first_chunk() -> None:
    """Of 24 tokens none have been heard when it ends, of 25 some; both are judged."""
    early, reasons = speak(LONG, [21, 44])
    assert (reasons, early.finish_reason) == (["implausible_length"], "stop")
    few = replace(REDRAWS, min_length_ratio=0.9)
    assert speak(LONG, [24], few)[1] == ["implausible_length"]
    late, reasons = speak(LONG, [25], few)
    assert (reasons, late.finish_reason) == ([], "implausible")
    assert speak(LONG, [89])[0].finish_reason == "implausible"
    assert speak(LONG, [-1])[0].finish_reason == "length"


@pytest.mark.parametrize("ids", [SHORT, LONG])
def test_tokens_are_held_back_while_they_may_be_dropped(ids: int) -> None:
    """A short segment's until it ends, a longer one's for as long as its first chunk isn't complete either."""
    draws = SegmentDraws(REDRAWS, ids, length_bounds(ids, REDRAWS))
    final = []
    for token in range(30):
        if not draws.attempt:
            draws.add(token)
            final.append(draws.num_final_tokens)
    assert final == ([0] * CUT if ids == SHORT else [0] * 24 + list(range(25, 31)))


@given(
    st.integers(1, 30),
    st.lists(st.integers(0, 300), min_size=3, max_size=3),
    st.sampled_from([0, 1, 2]),
    st.sampled_from([0, 12, 24, 60]),
)
def test_what_holds_for_all_draws(ids: int, lengths: list[int], redraws: int, limit: int) -> None:
    """A segment ends, within its bounds; tokens that were final stay; a dropped draw was short and implausible."""
    generation = replace(REDRAWS, max_redraws=redraws, max_redraw_tokens=limit)
    bounds = length_bounds(ids, generation)
    draws, final = SegmentDraws(generation, ids, bounds), 0
    while not draws.done:
        length, kept = len(draws.tokens), draws.tokens[:final]
        end = length >= max(bounds.minimum, lengths[draws.attempt])
        reason = draws.add(None if end else 1000 * draws.attempt + length)
        if reason is not None:
            assert final == 0
            assert length <= draws.held_tokens
        assert draws.tokens[:final] == kept
        assert draws.num_final_tokens >= final
        final = draws.num_final_tokens
    assert draws.attempt <= redraws
    assert bounds.minimum <= len(draws.tokens) <= bounds.maximum
    assert draws.num_final_tokens == len(draws.tokens)


def test_a_checkpoint_without_a_length_model_draws_once() -> None:
    """Whatever the length, and nothing is held back; a segment that was cut is still reported."""
    plain = GenerationConfig(min_ratio=0.0)
    for length in (0, 1, 59):
        draws, reasons = speak(SHORT, [length], plain)
        assert (draws.done, reasons, draws.finish_reason) == (True, [], "stop")
    assert speak(SHORT, [-1], plain)[0].finish_reason == "length"
    draws = SegmentDraws(plain, SHORT, length_bounds(SHORT, plain))
    draws.add(5)
    assert draws.num_final_tokens == 1
    with pytest.raises(CheckpointError, match="tokens_per_id"):
        GenerationConfig(max_redraws=1)


def test_a_job_finishes_like_its_worst_segment() -> None:
    assert worse("stop", "implausible") == worse("implausible", "stop") == "implausible"
    assert worse("implausible", "length") == "length"
    assert worse("stop", "stop") == "stop"
