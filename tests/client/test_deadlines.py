"""Deadlines follow a node's own pace, whatever it says."""

from __future__ import annotations

import json

from glmtts_client.deadlines import (
    HEDGE_AFTER,
    IDLE_TIMEOUT,
    MAX_PATIENCE,
    MIN_PATIENCE,
    STEPS,
    UNKNOWN,
    Progress,
    idle_timeout,
    is_hedge_due,
    may_take_hedge,
    patience,
    read_progress,
    seconds_until_stuck,
)
from hypothesis import given, settings
from hypothesis import strategies as st

seconds = st.floats(0, 1e4)
paces = st.none() | seconds
progresses = st.builds(Progress, seconds, paces, st.integers(0, 1000))
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["stalled_seconds", "pace_seconds", "queued", "x"]), inner, max_size=4)
    ),
)


@given(progresses)
def test_patience_has_bounds(progress: Progress) -> None:
    """Of the quickest node and of the slowest."""
    assert MIN_PATIENCE <= patience(progress) <= MAX_PATIENCE


@given(st.floats(0, MAX_PATIENCE / STEPS), st.floats(0, 1))
def test_a_node_at_its_own_pace_is_not_stuck(pace: float, share: float) -> None:
    """However slow that is, a step may take four times as long as the longest so far."""
    assert not Progress(share * STEPS * pace, pace).is_stuck


@given(paces, paces)
def test_a_slower_node_is_waited_for_longer(one: float | None, other: float | None) -> None:
    """And one that does not say how slow it is the longest."""
    slower = max(one, other) if one is not None and other is not None else None
    assert patience(Progress(pace_seconds=slower)) == max(patience(Progress(pace_seconds=x)) for x in (one, other))
    assert idle_timeout(Progress(pace_seconds=slower)) >= IDLE_TIMEOUT


@given(progresses)
def test_an_engine_without_progress_is_stuck_in_time(progress: Progress) -> None:
    """Neither before nor long after that."""
    left = seconds_until_stuck(progress)
    later = Progress(progress.stalled_seconds + left + 1e-3, progress.pace_seconds)
    assert later.is_stuck
    assert progress.is_stuck == (left == 0 and progress.stalled_seconds > patience(progress))


@given(progresses)
def test_a_node_that_has_stopped_is_stuck_in_the_end(progress: Progress) -> None:
    """Whatever its pace."""
    assert Progress(MAX_PATIENCE + 0.1, progress.pace_seconds).is_stuck


@given(anything)
@settings(max_examples=50)
def test_any_answer_is_read(content: object) -> None:
    """A malformed one counts as unknown; numbers that are not finite or negative do not count."""
    progress = read_progress(content)
    assert progress.stalled_seconds >= 0
    assert progress.queued >= 0
    assert progress.pace_seconds is None or progress.pace_seconds >= 0
    if not isinstance(content, dict):
        assert progress == UNKNOWN


@given(progresses)
def test_what_a_node_says_is_read(progress: Progress) -> None:
    """As it was meant."""
    assert read_progress(json.loads(json.dumps(vars(progress)))) == progress


@given(st.floats(0, 100), progresses)
def test_a_request_is_hedged_only_for_a_reason(waited: float, progress: Progress) -> None:
    """The node may be dead, or the request has waited for a place; a node that works on it is waited for."""
    assert is_hedge_due(waited, progress, suspect=True)
    assert is_hedge_due(waited, progress, suspect=False) == (progress.queued > 0 and waited >= HEDGE_AFTER)


@given(progresses)
def test_a_full_node_takes_no_hedge(progress: Progress) -> None:
    """Unless the first may be dead: so nodes that are all full are not asked twice."""
    assert may_take_hedge(progress, suspect=False) == (not progress.is_stuck and progress.queued == 0)
    assert may_take_hedge(progress, suspect=True) == (not progress.is_stuck)
