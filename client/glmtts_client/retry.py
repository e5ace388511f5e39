"""When to retry a failed request, as a policy for tenacity.

A request whose node fails is sent to another one at once. From the second failure on, delays grow exponentially; none
is shorter than the nodes' Retry-After. A time limit, a failure limit and a budget that all requests of a program share
bound the retries.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    retry_if_result,
    stop_when_event_set,
    wait_random_exponential,
)
from tenacity.nap import sleep_using_event
from tenacity.stop import stop_base

from glmtts_client.errors import ClientError, DiscoveryError, NodeError, NoNodeAvailableError, RetriesExhaustedError

log = logging.getLogger(__name__)

RETRYABLE: tuple[type[ClientError], ...] = (NodeError, NoNodeAvailableError)
"""Errors that a retry may fix; also DiscoveryError with `RetryPolicy.wait_for_consul`."""


class RetryableFailure(NamedTuple):
    """The result of an attempt that failed and should be retried, for loops that return errors instead of raising."""

    error: NodeError | NoNodeAvailableError


class RetryBudget:
    """Limits retries to `ratio` of the requests, plus `reserve` that are always allowed. Thread-safe.

    It keeps clients from multiplying the load on a cluster that is failing. A 429 is not a failure and costs nothing.
    """

    def __init__(self, ratio: float = 0.2, reserve: float = 10.0) -> None:
        self._ratio, self._reserve = ratio, reserve
        self._balance = reserve
        self._lock = threading.Lock()

    def deposit(self) -> None:
        """Records a new request, which earns `ratio` of a retry."""
        with self._lock:
            self._balance = min(self._reserve, self._balance + self._ratio)

    def try_withdraw(self) -> bool:
        """Whether a retry is allowed; if so, it is deducted."""
        with self._lock:
            if self._balance < 1.0:
                return False
            self._balance -= 1.0
            return True


class Deadline:
    """`timeout` seconds from now, or from the last `restart`."""

    def __init__(self, timeout: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._timeout = timeout
        self._clock = clock
        self._start = clock()

    def restart(self) -> None:
        self._start = self._clock()

    def remaining(self) -> float:
        """Seconds; negative once the deadline has passed."""
        return self._timeout - (self._clock() - self._start)


@dataclass(frozen=True)
class RetryPolicy:
    """How long and how often to try. All times are in seconds.

    `timeout`: for the whole request, in addition to the time that speaking takes; for a stream, without new audio.
    `max_failures`: failed attempts; busy nodes (429) do not count. `initial_delay`, `max_delay`: range of the delays.
    `queue_timeout`: time in a node's queue before another node is tried. `budget`: None allows every retry.
    `wait_for_consul`: also retry while there is no node list because Consul is down, instead of failing at once.
    """

    timeout: float = 120.0
    max_failures: int = 10
    initial_delay: float = 0.25
    max_delay: float = 10.0
    queue_timeout: float = 30.0
    budget: RetryBudget | None = field(default_factory=RetryBudget)
    wait_for_consul: bool = False

    def retrying(
        self,
        deadline: Deadline,
        *,
        cancel: threading.Event | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> Retrying:
        """Iterates over attempts, each of which raises (`with attempt:`) or sets a result. RetriesExhaustedError.

        Setting `cancel` ends a delay and allows no further one.
        """
        if self.budget is not None:
            self.budget.deposit()
        stop = _StopAtLimits(self, deadline)
        exceptions = (*RETRYABLE, DiscoveryError) if self.wait_for_consul else RETRYABLE
        return Retrying(
            retry=retry_if_exception_type(exceptions) | retry_if_result(_is_failure),
            wait=_WaitForNodes(self),
            stop=stop if cancel is None else stop | stop_when_event_set(cancel),
            sleep=sleep if cancel is None else sleep_using_event(cancel),
            before_sleep=_log_retry,
            retry_error_callback=stop.raise_exhausted,
        )


class _WaitForNodes(wait_random_exponential):
    """None after a first failure, then random ones up to a limit that doubles, but at least the nodes' Retry-After."""

    def __init__(self, policy: RetryPolicy) -> None:
        super().__init__(multiplier=policy.initial_delay, max=policy.max_delay)

    def __call__(self, retry_state: RetryCallState) -> float:
        error = _error(retry_state)
        if retry_state.attempt_number == 1 and isinstance(error, NodeError) and not error.busy:
            return 0.0
        retry_after = error.retry_after if isinstance(error, NoNodeAvailableError) else None
        return max(super().__call__(retry_state), retry_after or 0.0)


class _StopAtLimits(stop_base):
    """Counts failures. An attempt that found no node, or a busy one, costs only time."""

    def __init__(self, policy: RetryPolicy, deadline: Deadline) -> None:
        self._policy, self._deadline = policy, deadline
        self.attempts = self._failures = 0

    def __call__(self, retry_state: RetryCallState) -> bool:
        error, budget = _error(retry_state), self._policy.budget
        if retry_state.upcoming_sleep >= self._deadline.remaining():
            return True
        if not isinstance(error, NodeError):
            return False
        self.attempts += 1
        if error.busy:
            return False
        self._failures += 1
        if self._failures >= self._policy.max_failures:
            return True
        return budget is not None and not budget.try_withdraw()

    def raise_exhausted(self, state: RetryCallState) -> None:
        last = _error(state)
        raise RetriesExhaustedError(self.attempts, last) from last


def _is_failure(result: object) -> bool:
    return isinstance(result, RetryableFailure)


def _log_retry(state: RetryCallState) -> None:
    log.info("%s; retrying in %.1f s", _error(state), state.upcoming_sleep)


def _error(state: RetryCallState) -> BaseException | None:
    outcome = state.outcome
    if outcome is None:
        return None
    if outcome.failed:
        return outcome.exception()
    result = outcome.result()
    return result.error if isinstance(result, RetryableFailure) else None
