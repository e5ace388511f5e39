"""What is retried, after which delay, and when to give up."""

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
    """A clock that only `sleep` advances."""

    def __init__(self) -> None:
        self.now = 0.0
        self.delays: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.delays.append(seconds)
        self.now += seconds


def run(policy: RetryPolicy, time: Time, fail: Callable[[int], Exception | None], deadline: float = 100.0) -> int:
    """The number of attempts; `fail` gives the error of the n-th."""
    number = 0
    for attempt in policy.retrying(Deadline(deadline, time), sleep=time.sleep):
        with attempt:
            number += 1
            if error := fail(number):
                raise error
    return number


FAILED = NodeError("http://a", "gone")
BUSY = NodeError("http://a", "429", status=429)


def test_node_errors_are_retried() -> None:
    assert run(RetryPolicy(), Time(), lambda n: FAILED if n < 4 else None) == 4


def test_other_errors_are_not_retried() -> None:
    """Rejected requests and bugs raise their own error at once."""
    for error in (ResponseError(400, "x", "y", field=None, request_id=None), KeyError("x")):
        time = Time()
        with pytest.raises(type(error)):
            run(RetryPolicy(), time, lambda n, error=error: error)  # type: ignore[misc]
        assert time.delays == []


@given(st.integers(1, 8))
def test_failures_are_limited(attempts: int) -> None:
    """RetriesExhaustedError has the last error as its cause."""
    with pytest.raises(RetriesExhaustedError, match="gone") as raised:
        run(RetryPolicy(max_failures=attempts, budget=None), Time(), lambda n: FAILED)
    assert raised.value.attempts == attempts
    assert raised.value.__cause__ is FAILED


def test_busy_nodes_cost_only_time() -> None:
    """Waiting for busy or missing nodes uses neither the budget nor the failure limit."""
    policy = RetryPolicy(max_failures=2, budget=RetryBudget(reserve=0))
    none = NoNodeAvailableError("none")
    assert run(policy, Time(), lambda n: (BUSY, none)[n % 2] if n < 20 else None, 1e6) == 20


@given(st.floats(0.5, 50), st.integers())
def test_the_deadline_holds(deadline: float, seed: int) -> None:
    """No delay ends after it, and the last attempt is not long before it."""
    time = Time()
    with pytest.raises(RetriesExhaustedError):
        run(RetryPolicy(budget=None), time, lambda n: BUSY, deadline)
    assert time.now < deadline
    assert time.now > deadline - 10.0


@given(st.floats(0.1, 20))
def test_retry_after_is_honoured(retry_after: float) -> None:
    time = Time()
    run(RetryPolicy(), time, lambda n: NoNodeAvailableError("busy", retry_after=retry_after) if n == 1 else None)
    assert time.delays[0] >= retry_after


@given(st.integers(0, 30))
def test_delays_are_bounded(seed: int) -> None:
    """They are random, up to a limit that doubles until `max_delay`."""
    time = Time()
    run(RetryPolicy(initial_delay=0.2, max_delay=10), time, lambda n: BUSY if n < 12 else None, deadline=1e6)
    assert all(0 <= delay <= min(10.0, 0.2 * 2**number) for number, delay in enumerate(time.delays))


def test_the_first_failure_costs_no_time() -> None:
    """Another node may be as good as new; a busy cluster is left alone for a moment."""
    for error, is_delayed in ((FAILED, False), (BUSY, True)):
        time = Time()
        run(RetryPolicy(), time, lambda n, error=error: error if n == 1 else None)  # type: ignore[misc]
        assert bool(time.now) == is_delayed


def test_the_budget_is_shared_and_earned() -> None:
    """Retries are a fraction of the requests, plus a reserve; without a budget a failure is final."""
    budget = RetryBudget(ratio=0.25, reserve=2)
    policy = RetryPolicy(budget=budget)
    assert run(policy, Time(), lambda n: FAILED if n < 3 else None) == 3
    with pytest.raises(RetriesExhaustedError) as raised:
        run(policy, Time(), lambda n: FAILED)
    assert raised.value.attempts == 1
    for _ in range(4):
        run(policy, Time(), lambda n: None)
    assert run(policy, Time(), lambda n: FAILED if n < 2 else None) == 2


def test_wait_for_consul() -> None:
    """A batch may start before its agent; a single request should fail at once."""
    away = DiscoveryError("away")
    assert run(RetryPolicy(wait_for_consul=True), Time(), lambda n: away if n < 20 else None, 1e6) == 20
    with pytest.raises(DiscoveryError):
        run(RetryPolicy(), Time(), lambda n: away)


def test_a_deadline_can_be_restarted() -> None:
    """A stream's deadline counts from its last new audio."""
    time = Time()
    deadline = Deadline(10.0, time)
    time.now = 8.0
    deadline.restart()
    time.now = 15.0
    assert deadline.remaining() == pytest.approx(3.0)
