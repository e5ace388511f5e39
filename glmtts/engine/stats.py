"""An engine's statistics: the snapshot that metrics read, and the histograms, clocks and rates behind it."""

from __future__ import annotations

import math
import time
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from threading import Lock
from typing import Literal

SECONDS_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5)
ROWS_BOUNDS = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0, 64.0)

RedrawReason = Literal["below_floor", "at_ceiling", "implausible_length"]
"""Why a segment was drawn again: it ended as soon as it may, was cut at its maximum length, or its length is far from
the one that its text suggests."""


@dataclass(frozen=True)
class HistogramSnapshot:
    """Observations since the engine was loaded. `counts[i]` are those above `bounds[i - 1]` and at most `bounds[i]`;
    the last count has those above all bounds. `total` is the sum of all observations."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float

    @property
    def cumulative(self) -> tuple[int, ...]:
        """Observations at most each bound, then the number of all."""
        return tuple(accumulate(self.counts))


@dataclass(frozen=True)
class RecordedCounts:
    """Of one stage: the shapes that are recorded, the steps that were replayed, and those that ran plainly because
    their shape is not recorded. All 0 where nothing is recorded, as on a CPU."""

    shapes: int
    replayed: int
    plain: int


@dataclass(frozen=True)
class EngineStats:
    """A snapshot of an engine. Histograms and counts run from the moment it was loaded."""

    step_seconds: HistogramSnapshot
    """Seconds of each decode step, which samples one token per row."""
    step_rows: HistogramSnapshot
    """Rows of each decode step."""
    flow_rows: HistogramSnapshot
    """Rows of each step of the flow: a solver step, or a recorded block of all of them."""
    slots_used: int
    slots_total: int
    reserved_bytes: int
    """Device memory that the engine may take, weights included. Fixed at the start."""
    voice_cache_bytes: int
    """How much of it the cached voice prompts take now."""
    voice_cache_hits: int
    """Jobs whose voice prompt was in the cache."""
    voice_cache_misses: int
    """Jobs whose voice prompt was not."""
    buffered_seconds: float
    """Seconds of audio made but not yet read."""
    backpressured_jobs: int
    """Jobs that are paused because their readers have not taken what they have."""
    realtime_ratio: float | None
    """Seconds of audio made per second of work, lately; None before the first audio."""
    retries: int
    """Batches that failed and were retried row by row."""
    failures: int
    """Jobs that ended with an error of the engine's own."""
    redraws: Mapping[RedrawReason, int]
    """How often a segment's speech tokens were drawn again, by reason."""
    recorded_steps: Mapping[str, RecordedCounts] = field(default_factory=dict)
    """CUDA graphs by stage: prefill, decode, flow, vocoder."""


class Histogram:
    """Counts observations by bucket. `bounds` are the inclusive upper bounds of the buckets, in ascending order."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._total += value

    def snapshot(self) -> HistogramSnapshot:
        return HistogramSnapshot(self._bounds, tuple(self._counts), self._total)


class ProgressClock:
    """How long work has made no progress. It ticks with every step and stops while there is nothing to do."""

    HALF_LIFE_SECONDS = 300.0
    """Of work, after which a long step counts half."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last_tick: float | None = None
        self.steps = 0
        self.longest_seconds = 0.0
        """Between two ticks, lately."""

    def tick(self) -> None:
        now = self._clock()
        if self._last_tick is not None:
            step = now - self._last_tick
            self.steps += 1
            self.longest_seconds = max(step, self.longest_seconds * 0.5 ** (step / self.HALF_LIFE_SECONDS))
        self._last_tick = now

    def resume(self) -> None:
        """Starts the clock if it is stopped."""
        if self._last_tick is None:
            self.tick()

    def idle(self) -> None:
        """Stops the clock."""
        self._last_tick = None

    def stalled_seconds(self) -> float:
        """Seconds since the last tick; 0.0 while stopped."""
        last = self._last_tick
        return 0.0 if last is None else self._clock() - last


PACE_STEPS = 50
"""From so many steps on, the longest of them says something about the next ones."""


def pace_seconds(clocks: Sequence[ProgressClock]) -> float | None:
    """The longest step of several threads lately; None before they have made PACE_STEPS."""
    if sum(clock.steps for clock in clocks) < PACE_STEPS:
        return None
    return max(clock.longest_seconds for clock in clocks)


class Throughput:
    """Output per second of work, averaged over the last seconds of audio with exponential decay.

    `num_threads` is the number of threads in each group. Groups run at the same time, so the busiest one sets the rate.
    Threads that outnumber the cores slow each other down, and the rate shows that.
    """

    DECAY_SECONDS = 20.0
    """Seconds of audio after which an observation weighs 1/e."""

    def __init__(self, num_threads: Mapping[str, int]) -> None:
        self._num_threads = dict(num_threads)
        self._busy = dict.fromkeys(num_threads, 0.0)
        self._audio = self._work = 0.0
        self._lock = Lock()

    def add_busy(self, group: str, seconds: float) -> None:
        """Adds time that one thread of the group has worked."""
        with self._lock:
            self._busy[group] += seconds

    def add_output(self, audio_seconds: float, work: float) -> None:
        """Adds seconds of audio and units of the scheduler's work (`priority.work`) that were produced."""
        with self._lock:
            decay = math.exp(-audio_seconds / self.DECAY_SECONDS)
            self._busy = {group: seconds * decay for group, seconds in self._busy.items()}
            self._audio, self._work = (self._audio + audio_seconds) * decay, (self._work + work) * decay

    @property
    def audio_rate(self) -> float | None:
        """Seconds of audio per second; None before the first."""
        return self._per_second(self._audio)

    @property
    def work_rate(self) -> float | None:
        """Work per second; None before the first."""
        return self._per_second(self._work)

    def _per_second(self, output: float) -> float | None:
        busiest = max(seconds / self._num_threads[group] for group, seconds in self._busy.items())
        return output / busiest if output and busiest else None
