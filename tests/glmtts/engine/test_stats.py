"""An engine's figures of itself."""

from __future__ import annotations

import time

import pytest

from glmtts.engine.stats import Counter, Pace, Pulse


def test_observations_are_counted_by_their_bounds() -> None:
    """Each observation is in the first bucket that it fits; those above all bounds are in the last."""
    counter = Counter((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 3.0):
        counter.note(value)
    tally = counter.tally()
    assert (tally.counts, tally.total) == ((2, 1, 1), 6.0)
    assert tally.cumulative == (2, 3, 4)


def test_a_pulse_ages_only_at_work() -> None:
    """From its last beat on, until it rests."""
    pulse = Pulse()
    assert pulse.age() == 0.0
    pulse.beat()
    time.sleep(0.01)
    assert pulse.age() >= 0.01
    pulse.rest()
    assert pulse.age() == 0.0


def test_pace_is_what_came_of_work_lately() -> None:
    """Seconds of sound, and work, by the busiest stage's seconds; what is long ago hardly counts."""
    pace = Pace((1, 1))
    assert pace.sound is None
    pace.spent(0, 0.25)
    pace.spent(1, 0.5)
    pace.made(1.0, 30.0)
    assert pace.sound == pytest.approx(2.0)
    assert pace.work == pytest.approx(60.0)
    for _ in range(200):
        pace.spent(1, 2.0)
        pace.made(1.0, 10.0)
    assert pace.sound == pytest.approx(0.5, rel=0.01)
    assert pace.work == pytest.approx(5.0, rel=0.01)


def test_threads_that_share_a_stage_go_faster_than_one() -> None:
    """Two threads at one stage go twice as fast as each of them."""
    pace = Pace((1, 2))
    pace.spent(1, 0.5)
    pace.made(1.0, 30.0)
    assert pace.sound == pytest.approx(4.0)
