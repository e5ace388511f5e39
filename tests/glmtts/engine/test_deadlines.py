"""Who goes first and who may begin, whatever the clocks say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmtts.engine.deadlines import FIRST, HEADROOM, SLACK, WHOLE, Expectation, Standing, deadline, may_begin, need

NOW = 100.0
LEADS = st.floats(-5.0, 60.0)
LEFTS = st.just(0.0) | st.floats(0.01, 120.0)
SPEAKING = st.builds(lambda lead, left: Standing(True, NOW, NOW + lead, left), LEADS, LEFTS)
NEWCOMER = Standing(True, NOW, None, 10.0)


@given(st.lists(SPEAKING, min_size=2, max_size=8))
def test_who_runs_dry_first_goes_first(listeners: list[Standing]) -> None:
    """Of those who listen, the next sound is due when there is none left to hear."""
    first = min(listeners, key=lambda job: deadline(job, NOW))
    assert first.dry_at == min(job.dry_at or 0.0 for job in listeners)


def test_newcomers_are_due_soon_and_whole_jobs_later() -> None:
    """A listener's first sound is due in half a second, a job's that nobody listens to in three."""
    assert deadline(NEWCOMER, NOW) == NOW + FIRST
    assert deadline(Standing(False, NOW, NOW, 10.0), NOW) == NOW + WHOLE


@given(st.floats(0.0, 1000.0))
def test_an_old_whole_job_never_passes_a_listener_in_need(age: float) -> None:
    """However long a whole job has waited, who runs dry within the slack is before it."""
    whole = Standing(False, NOW - age, None, 10.0)
    assert deadline(whole, NOW) > deadline(Standing(True, NOW, NOW + 0.99 * SLACK, 10.0), NOW)


@given(LEADS, LEFTS)
def test_a_need_is_a_share(lead: float, left: float) -> None:
    """Between nothing, when all is made, and all of real time, when nothing is before the listener."""
    needed = need(Standing(True, NOW, NOW + lead, left), NOW)
    assert 0.0 <= needed <= 1.0
    if left > 0:
        assert needed == pytest.approx(left / (left + max(lead, 0.0)), abs=1e-9)


@given(st.lists(SPEAKING, max_size=8), st.floats(0.1, 10.0))
def test_nobody_begins_who_would_make_others_wait(speaking: list[Standing], pace: float) -> None:
    """A listener begins when the needs of all stay below the pace with some headroom, or when he is the only one."""
    others = sum(need(job, NOW) for job in speaking)
    assert may_begin(NEWCOMER, speaking, pace, NOW) == (others == 0 or others + 1 <= HEADROOM * pace)


@given(st.lists(SPEAKING, max_size=8))
def test_without_a_pace_everybody_begins(speaking: list[Standing]) -> None:
    """As long as nothing is known of the engine's speed, it is tried."""
    assert may_begin(NEWCOMER, speaking, None, NOW)


def test_the_length_of_a_text_is_learnt() -> None:
    """The first text replaces the guess, later ones move it, and speed divides it."""
    expectation = Expectation(1.0)
    expectation.learn(10, 2.0)
    assert expectation.seconds(5, 1.0) == pytest.approx(1.0)
    for _ in range(500):
        expectation.learn(10, 4.0)
    assert expectation.seconds(10, 2.0) == pytest.approx(2.0, rel=0.01)
