"""When it is tried again, how long after, and when no more."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from glmtts_client import (
    DiscoveryError,
    NodeError,
    NoNodeAvailableError,
    ResponseError,
    RetriesExhaustedError,
    RetryBudget,
    RetryPolicy,
)
from glmtts_client.retry import Deadline
from hypothesis import given
from hypothesis import strategies as st


class Time:
    """Sleeping is all that passes it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def run(policy: RetryPolicy, time: Time, fail: Callable[[int], Exception | None], deadline: float = 100.0) -> int:
    """How many tries it took; `fail` says what happens in the n-th."""
    number = 0
    for attempt in policy.retrying(Deadline(deadline, time), time.sleep):
        with attempt:
            number += 1
            if error := fail(number):
                raise error
    return number


LOST = NodeError("http://a", "gone")
BUSY = NodeError("http://a", "429", status=429)


def test_a_lost_node_is_no_lost_request() -> None:
    """It is tried again until it works."""
    assert run(RetryPolicy(), Time(), lambda n: LOST if n < 4 else None) == 4


def test_what_stays_the_same_is_not_tried_again() -> None:
    """A request that is at fault fails at once, by its own error; so does a fault of ours."""
    for error in (ResponseError(400, "x", "y", field=None, request_id=None), KeyError("x")):
        time = Time()
        with pytest.raises(type(error)):
            run(RetryPolicy(), time, lambda n, error=error: error)  # type: ignore[misc]
        assert time.pauses == []


@given(st.integers(1, 8))
def test_failed_tries_are_counted(attempts: int) -> None:
    """As many as the policy says, then an error that says so and has the last one as its cause."""
    with pytest.raises(RetriesExhaustedError, match="gone") as caught:
        run(RetryPolicy(attempts=attempts, budget=None), Time(), lambda n: LOST)
    assert caught.value.attempts == attempts
    assert caught.value.__cause__ is LOST


def test_to_wait_for_a_place_costs_only_time() -> None:
    """Busy nodes, and none at all, are waited for until the deadline, without budget or count."""
    policy = RetryPolicy(attempts=2, budget=RetryBudget(reserve=0))
    none = NoNodeAvailableError("none")
    assert run(policy, Time(), lambda n: (BUSY, none)[n % 2] if n < 20 else None, 1e6) == 20


@given(st.floats(0.5, 50), st.integers())
def test_the_deadline_holds(deadline: float, seed: int) -> None:
    """No pause ends after it, and the last try is not given up long before it."""
    time = Time()
    with pytest.raises(RetriesExhaustedError):
        run(RetryPolicy(budget=None), time, lambda n: BUSY, deadline)
    assert time.now < deadline
    assert time.now > deadline - 10.0


@given(st.floats(0.1, 20))
def test_a_pause_that_was_asked_for_is_kept(wanted: float) -> None:
    """Retry-After: not a moment earlier."""
    time = Time()
    run(RetryPolicy(), time, lambda n: NoNodeAvailableError("busy", retry_after=wanted) if n == 1 else None)
    assert time.pauses[0] >= wanted


@given(st.integers(0, 30))
def test_pauses_are_bounded(seed: int) -> None:
    """They grow by chance between nothing and a limit that doubles, and that has a limit itself."""
    time = Time()
    run(RetryPolicy(initial_delay=0.2, max_delay=10), time, lambda n: BUSY if n < 12 else None, deadline=1e6)
    assert all(0 <= pause <= min(10.0, 0.2 * 2**number) for number, pause in enumerate(time.pauses))


def test_the_budget_is_shared_and_earned() -> None:
    """Further tries are a fraction of the first ones, beyond a reserve; when it is used up, a failure is final."""
    budget = RetryBudget(ratio=0.25, reserve=2)
    policy = RetryPolicy(budget=budget)
    assert run(policy, Time(), lambda n: LOST if n < 3 else None) == 3
    with pytest.raises(RetriesExhaustedError) as caught:
        run(policy, Time(), lambda n: LOST)
    assert caught.value.attempts == 1
    for _ in range(4):
        run(policy, Time(), lambda n: None)
    assert run(policy, Time(), lambda n: LOST if n < 2 else None) == 2


def test_consul_is_waited_for_only_where_that_is_wished() -> None:
    """A batch may be started before its agent; who asks for one utterance wants to know at once."""
    away = DiscoveryError("away")
    assert run(RetryPolicy(wait_for_consul=True), Time(), lambda n: away if n < 20 else None, 1e6) == 20
    with pytest.raises(DiscoveryError):
        run(RetryPolicy(), Time(), lambda n: away)


def test_a_clock_that_is_touched_starts_anew() -> None:
    """A stream has its deadline from its last new sound."""
    time = Time()
    deadline = Deadline(10.0, time)
    time.now = 8.0
    deadline.restart()
    time.now = 15.0
    assert deadline.remaining() == pytest.approx(3.0)
