"""An engine's statistics of itself."""

from __future__ import annotations

import time

import pytest

from glmtts.engine.stats import PACE_STEPS, Histogram, ProgressClock, Throughput, pace_seconds


def test_observations_are_counted_by_their_bounds() -> None:
    """Each observation is in the first bucket that it fits; those above all bounds are in the last."""
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 3.0):
        histogram.observe(value)
    snapshot = histogram.snapshot()
    assert (snapshot.counts, snapshot.total) == ((2, 1, 1), 6.0)
    assert snapshot.cumulative == (2, 3, 4)


def test_a_progress_clock_runs_only_at_work() -> None:
    """From its last tick on, until it is idle."""
    clock = ProgressClock()
    assert clock.stalled_seconds() == 0.0
    clock.tick()
    time.sleep(0.01)
    assert clock.stalled_seconds() >= 0.01
    clock.idle()
    assert clock.stalled_seconds() == 0.0


def test_throughput_is_the_recent_output_per_busy_second() -> None:
    """Seconds of audio, and work, by the busiest group's seconds; what is long ago hardly counts."""
    throughput = Throughput({"decode": 1, "audio": 1})
    assert throughput.audio_rate is None
    throughput.add_busy("decode", 0.25)
    throughput.add_busy("audio", 0.5)
    throughput.add_output(1.0, 30.0)
    assert throughput.audio_rate == pytest.approx(2.0)
    assert throughput.work_rate == pytest.approx(60.0)
    for _ in range(200):
        throughput.add_busy("audio", 2.0)
        throughput.add_output(1.0, 10.0)
    assert throughput.audio_rate == pytest.approx(0.5, rel=0.01)
    assert throughput.work_rate == pytest.approx(5.0, rel=0.01)


def test_threads_that_share_a_group_go_faster_than_one() -> None:
    """Two threads of one group go twice as fast as each of them."""
    throughput = Throughput({"decode": 1, "audio": 2})
    throughput.add_busy("audio", 0.5)
    throughput.add_output(1.0, 30.0)
    assert throughput.audio_rate == pytest.approx(4.0)


def test_the_pace_is_the_longest_step_lately() -> None:
    """Of any thread, once there were some steps; rest does not count, and what is long ago counts less."""
    now = [0.0]
    decode, audio = ProgressClock(lambda: now[0]), ProgressClock(lambda: now[0])

    def work(clock: ProgressClock, *steps: float) -> None:
        clock.tick()
        for step in steps:
            now[0] += step
            clock.tick()
        clock.idle()
        now[0] += 1000.0

    work(audio, 3.0)
    work(decode, *[0.5] * (PACE_STEPS - 2))
    assert pace_seconds([decode, audio]) is None
    work(decode, 0.5)
    assert pace_seconds([decode, audio]) == pytest.approx(3.0)
    work(audio, *[1.0] * 3000)
    assert pace_seconds([decode, audio]) == pytest.approx(1.0)
