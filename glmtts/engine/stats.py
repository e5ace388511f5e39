"""Figures of an engine: what an instrument asks for, and how fast the engine finds itself to be.

Counts and clocks only. Knows nothing about jobs' contents, tensors or who reads the figures.
"""

from __future__ import annotations

import math
import time
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from threading import Lock

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5)
ROWS = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0, 64.0)


@dataclass(frozen=True)
class Tally:
    """A histogram since the engine was loaded: how many observations were at most each bound and above the one before;
    the last count is of those above all bounds. `total` is the sum of all observations."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float

    @property
    def cumulative(self) -> tuple[int, ...]:
        """How many observations were at most each bound, and last, how many there were."""
        return tuple(accumulate(self.counts))


@dataclass(frozen=True)
class EngineStats:
    """How an engine stands. Histograms and counts are since it was loaded."""

    step_seconds: Tally
    """Seconds of each decode step, in which every row draws one token."""
    step_rows: Tally
    """Rows in each decode step."""
    flow_rows: Tally
    """Rows in each solver step of the flow."""
    slots_used: int
    slots_total: int
    reserved_bytes: int
    """Memory of the device that the engine may come to hold, weights included; it is fixed at the start."""
    voice_bytes: int
    """What the flow remembers of voices takes so much of that."""
    voice_hits: int
    voice_misses: int
    """How often a job's voice was remembered, and how often not."""
    unsent_seconds: float
    """Sound that has been made and that its readers have not taken."""
    held: int
    """Jobs that nothing is made for, because their readers have not taken what they have."""
    pace: float | None
    """Seconds of sound that a second of work makes, lately; None before anything was made."""
    retries: int
    """Batches that failed and were tried again row by row."""
    failures: int
    """Jobs that ended with an error which was not the caller's."""


class Counter:
    """Fills a Tally."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0

    def note(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._total += value

    def tally(self) -> Tally:
        return Tally(self._bounds, tuple(self._counts), self._total)


class Pulse:
    """Whether a thread that has work gets on with it: it beats at each step, and rests when there is nothing to do."""

    def __init__(self) -> None:
        self._last: float | None = None

    def beat(self) -> None:
        self._last = time.monotonic()

    def begin(self) -> None:
        """Beats if it has been at rest."""
        if self._last is None:
            self.beat()

    def rest(self) -> None:
        self._last = None

    def age(self) -> float:
        """Seconds since the last beat; 0.0 while at rest."""
        last = self._last
        return 0.0 if last is None else time.monotonic() - last


class Pace:
    """How much comes of a second of work, over the last seconds of sound: what is long ago counts less and less.

    Time is noted apart for the stages that run at the same time, of which `threads` tells how many threads share each;
    the busiest one sets the pace. Where these are more threads than cores they slow each other down, and that shows.
    """

    MEMORY = 20.0
    """Seconds of sound after which something weighs 1/e of what it did."""

    def __init__(self, threads: Sequence[int]) -> None:
        self._threads = threads
        self._busy = [0.0] * len(threads)
        self._sound = self._work = 0.0
        self._lock = Lock()

    def spent(self, stage: int, seconds: float) -> None:
        """By one of its threads."""
        with self._lock:
            self._busy[stage] += seconds

    def made(self, sound: float, work: float) -> None:
        """So many seconds of sound have come of it, and so much of the policy's work was done with a block."""
        with self._lock:
            kept = math.exp(-sound / self.MEMORY)
            self._busy = [busy * kept for busy in self._busy]
            self._sound, self._work = (self._sound + sound) * kept, (self._work + work) * kept

    @property
    def sound(self) -> float | None:
        """Seconds of sound a second; None before any was made."""
        return self._by(self._sound)

    @property
    def work(self) -> float | None:
        """Work a second; None before any was done."""
        return self._by(self._work)

    def _by(self, done: float) -> float | None:
        busiest = max(busy / threads for busy, threads in zip(self._busy, self._threads, strict=True))
        return done / busiest if done and busiest else None
