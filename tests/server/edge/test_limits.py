"""The least rate of a client, as a policy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.edge.limits import MinRate

STEPS = st.lists(st.tuples(st.floats(0.01, 5.0), st.integers(0, 20_000)), min_size=1, max_size=40)


def test_a_peer_that_moves_nothing_has_its_seconds() -> None:
    """No matter how much it moved before."""
    rate = MinRate(10.0, 500, now=0.0)
    assert rate.update(5.0, 10**6) == pytest.approx(10.0)
    assert rate.update(14.0, 10**6) == pytest.approx(1.0)
    assert rate.update(15.0, 10**6) == pytest.approx(0.0)


@given(STEPS)
def test_a_peer_at_the_rate_is_never_too_slow(steps: list[tuple[float, int]]) -> None:
    """However its bytes are spread over pauses that are shorter than its seconds."""
    rate, now, moved = MinRate(10.0, 500, now=0.0), 0.0, 0
    for pause, more in steps:
        now, moved = now + pause, moved + max(more, round(500 * pause) + 1)
        assert rate.update(now, moved) > 0


@given(STEPS)
def test_a_peer_below_half_the_rate_is_too_slow_in_the_end(steps: list[tuple[float, int]]) -> None:
    """However its bytes are spread: within twice its seconds."""
    rate, now, moved, left = MinRate(10.0, 500, now=0.0), 0.0, 0, 10.0
    for pause, _ in steps:
        now, moved = now + pause, moved + int(250 * pause)
        left = rate.update(now, moved)
    assert (left <= 0) == (now >= 20.1) or 19.9 < now < 20.1


@given(STEPS)
def test_time_without_anything_to_move_does_not_count(steps: list[tuple[float, int]]) -> None:
    """A listener who keeps up may take nothing for hours."""
    rate, now = MinRate(10.0, 500, now=0.0), 0.0
    for pause, _ in steps:
        now += 100 * pause
        assert rate.update(now, 0, waiting=False) == 10.0
