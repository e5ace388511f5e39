"""When a failed request is tried again: policy for tenacity. Knows nothing about what a request is.

A try waits for as long as every node asked for (Retry-After), and a little longer each time; deadline, number of tries
and a budget that all requests of a program share say when it is enough.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_random_exponential
from tenacity.stop import stop_base

from glmtts_client.errors import ClientError, DiscoveryError, NodeError, NoNodeAvailableError, RetriesExhaustedError

log = logging.getLogger(__name__)

RETRYABLE: tuple[type[ClientError], ...] = (NodeError, NoNodeAvailableError)
"""What may end well when tried again; and DiscoveryError, where it was wished."""


class RetryBudget:
    """Further tries are at most `ratio` of all first ones, beyond `reserve` that are always granted. Thread-safe.

    So that a cluster that is down, or nearly, is not asked many times over by everybody. To be told to come again
    later (429) is no failure, and costs nothing.
    """

    def __init__(self, ratio: float = 0.2, reserve: float = 10.0) -> None:
        self._ratio, self._reserve = ratio, reserve
        self._left = reserve
        self._lock = threading.Lock()

    def deposit(self) -> None:
        """Counts a first try."""
        with self._lock:
            self._left = min(self._reserve, self._left + self._ratio)

    def try_withdraw(self) -> bool:
        """Whether a further try may be made; then it is counted."""
        with self._lock:
            if self._left < 1.0:
                return False
            self._left -= 1.0
            return True


class Deadline:
    """Time left for something that must not stand still for longer than `limit` s; `restart` when it has moved."""

    def __init__(self, limit: float, now: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._now = now
        self._since = now()

    def restart(self) -> None:
        self._since = self._now()

    def remaining(self) -> float:
        """Seconds, below 0 when it is over."""
        return self._limit - (self._now() - self._since)


@dataclass(frozen=True)
class RetryPolicy:
    """How long, and how often.

    `deadline`: seconds in all, beside the time to speak; of a stream, without new sound. `attempts`: how many may fail.
    `initial_delay` and `max_delay`: seconds between which the pauses grow. `budget`: None grants every further try.
    `queue_timeout`: seconds in a node's queue before another node is tried. `wait_for_consul`: waits
    for Consul, too, where no list of nodes was ever had; else that fails at once.
    """

    deadline: float = 120.0
    attempts: int = 10
    initial_delay: float = 0.25
    max_delay: float = 10.0
    queue_timeout: float = 30.0
    budget: RetryBudget | None = field(default_factory=RetryBudget)
    wait_for_consul: bool = False

    def retrying(self, deadline: Deadline, sleep: Callable[[float], None] = time.sleep) -> Retrying:
        """Loops over tries: `for attempt in ...: with attempt: ...`. RetriesExhaustedError when it is enough."""
        if self.budget is not None:
            self.budget.deposit()
        stop = _Stop(self, deadline)
        return Retrying(
            retry=retry_if_exception_type((*RETRYABLE, DiscoveryError) if self.wait_for_consul else RETRYABLE),
            wait=_Wait(self),
            stop=stop,
            sleep=sleep,
            before_sleep=_log_retry,
            retry_error_callback=stop.give_up,
        )


class _Wait(wait_random_exponential):
    """Grows, by chance, and is never shorter than all nodes together asked for."""

    def __init__(self, policy: RetryPolicy) -> None:
        super().__init__(multiplier=policy.initial_delay, max=policy.max_delay)

    def __call__(self, retry_state: RetryCallState) -> float:
        error = _error(retry_state)
        asked = error.retry_after if isinstance(error, NoNodeAvailableError) else None
        return max(super().__call__(retry_state), asked or 0.0)


class _Stop(stop_base):
    """Counts tries that failed. To have found no node, or a busy one, costs nothing but time."""

    def __init__(self, policy: RetryPolicy, deadline: Deadline) -> None:
        self._policy, self._deadline = policy, deadline
        self.tries = self._failures = 0

    def __call__(self, retry_state: RetryCallState) -> bool:
        error, budget = _error(retry_state), self._policy.budget
        if retry_state.upcoming_sleep >= self._deadline.remaining():
            return True
        if not isinstance(error, NodeError):
            return False
        self.tries += 1
        if error.busy:
            return False
        self._failures += 1
        if self._failures >= self._policy.attempts:
            return True
        return budget is not None and not budget.try_withdraw()

    def give_up(self, state: RetryCallState) -> None:
        last = _error(state)
        raise RetriesExhaustedError(self.tries, last) from last


def _log_retry(state: RetryCallState) -> None:
    log.info("%s; again in %.1f s", _error(state), state.upcoming_sleep)


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome is not None else None
