"""How long to wait for a node that says that it is alive: deadlines that follow its own pace, and when to hedge.

Policy only: pure functions. A node tells with /ready how long its engine has made no progress, the longest step of its
last minutes of work, and how many requests wait for a place. A node that tells nothing is waited for as long as the
slowest one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MIN_PATIENCE, MAX_PATIENCE = 1.25, 20.0
"""Seconds without progress after which the quickest and the slowest engine count as stuck."""
STEPS = 4.0
"""How many of its longest steps an engine may take for one."""
IDLE_TIMEOUT = 15.0
"""Seconds without data after which a stream is given up, though its node makes progress with others."""
HEDGE_AFTER = 0.75
"""Seconds in a node's queue after which a second node is asked for the same."""
MAX_HEDGED_CHARACTERS = 200
"""A longer text is work that nobody wants to do twice."""


@dataclass(frozen=True)
class Progress:
    """How a node's engine gets on.

    `stalled_seconds`: without progress. `pace_seconds`: its longest step lately; None: unknown. `queued`: requests
    that wait for a place.
    """

    stalled_seconds: float = 0.0
    pace_seconds: float | None = None
    queued: int = 0

    @property
    def is_stuck(self) -> bool:
        """Whether the engine has made no progress for longer than one that works takes."""
        return self.stalled_seconds > patience(self)


UNKNOWN = Progress()
"""Of a node that does not tell."""


def read_progress(content: object) -> Progress:
    """What the body of /ready tells. Anything that is missing or malformed counts as unknown."""
    values: Mapping[Any, Any] = content if isinstance(content, Mapping) else {}
    stalled, pace, queued = (_number(values.get(name)) for name in ("stalled_seconds", "pace_seconds", "queued"))
    return Progress(stalled or 0.0, pace, int(queued or 0))


def _number(value: object) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value < float("inf") else None  # type: ignore[arg-type, operator]


def patience(progress: Progress) -> float:
    """Seconds that the engine may make no progress."""
    if progress.pace_seconds is None:
        return MAX_PATIENCE
    return min(max(MIN_PATIENCE, STEPS * progress.pace_seconds), MAX_PATIENCE)


def seconds_until_stuck(progress: Progress) -> float:
    """After which the engine counts as stuck, if it makes no progress meanwhile."""
    return max(0.0, patience(progress) - progress.stalled_seconds)


def idle_timeout(progress: Progress) -> float:
    """Seconds that a stream which has begun may bring nothing: an engine in no hurry may take a step for each other."""
    return max(IDLE_TIMEOUT, STEPS * (progress.pace_seconds or 0.0))


def is_hedge_due(waited: float, progress: Progress, *, suspect: bool) -> bool:
    """Whether a second node is worth asking, for a request that has waited so long without a byte.

    The node is perhaps dead (`suspect`), or has others to serve first.
    """
    return suspect or (progress.queued > 0 and waited >= HEDGE_AFTER)


def may_take_hedge(rival: Progress, *, suspect: bool) -> bool:
    """Whether a second node may be bothered: one with a queue of its own only if the first is perhaps dead."""
    return not rival.is_stuck and (suspect or rival.queued == 0)
