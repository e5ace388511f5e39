"""Which job goes first, and which listener may start, for any clocks."""

from __future__ import annotations

import math
from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from glmtts.engine.scheduling.priority import (
    FIRST_AUDIO_TARGET,
    MAX_UTILISATION,
    URGENT_WITHIN,
    WHOLE_JOB_INTERVAL,
    WHOLE_JOB_TARGET,
    ChunkEstimate,
    JobPriority,
    may_start,
    urgency,
)

NOW = 100.0
LEADS = st.floats(0.0, 60.0)
LISTENERS = st.builds(lambda lead, work: JobPriority(True, NOW, NOW + lead, work), LEADS, st.floats(1.0, 300.0))
RATES = st.none() | st.floats(1.0, 1000.0)
CHUNKS = st.lists(st.builds(ChunkEstimate, st.floats(0.2, 4.0), st.floats(10.0, 300.0)), min_size=1, max_size=12)
LISTENING = st.lists(st.tuples(LEADS.map(lambda lead: NOW + lead), CHUNKS), min_size=1, max_size=6)


def steady(count: int = 10) -> list[ChunkEstimate]:
    """One-second chunks of 50 work each."""
    return [ChunkEstimate(1.0, 50.0)] * count


@given(st.lists(LISTENERS, min_size=1, max_size=8))
def test_the_first_listener_to_run_dry_goes_first(listeners: list[JobPriority]) -> None:
    """While the rate is unknown, listeners are ordered by the end of their playout."""
    first = min(listeners, key=lambda job: urgency(job, None, NOW))
    assert first.playout_end == min(job.due for job in listeners)


def test_newcomers_are_due_soon_and_whole_jobs_later() -> None:
    """A listener's first audio is due after half a second, a whole job's after three."""
    assert JobPriority(True, NOW, None, 1.0).due == NOW + FIRST_AUDIO_TARGET
    assert JobPriority(False, NOW, NOW, 1.0).due == NOW + WHOLE_JOB_TARGET


@given(
    st.floats(0.0, 1000.0),
    st.floats(0.0, 0.99 * WHOLE_JOB_INTERVAL),
    st.floats(0.0, 10.0),
    st.floats(1.0, 300.0),
    RATES,
)
def test_whole_jobs_pass_an_urgent_listener_at_most_once_per_interval(
    age: float, ago: float, lead: float, work: float, rate: float | None
) -> None:
    """However long a whole job has waited: right after a whole job's step, an urgent listener goes first."""
    whole = JobPriority(False, NOW - age, None, work, last_whole_job_step=NOW - ago)
    listener = JobPriority(True, NOW, NOW + lead, work)
    if NOW + lead - (work / rate if rate else 0.0) < NOW + URGENT_WITHIN:
        assert urgency(listener, rate, NOW) < urgency(whole, rate, NOW)


@given(
    listeners=st.integers(1, 8),
    wholes=st.integers(1, 4),
    step=st.floats(0.02, 0.4),
    audio=st.floats(0.05, 1.0),
    chunks_each=st.integers(1, 30),
)
@example(listeners=4, wholes=4, step=0.2, audio=0.203125, chunks_each=14)
def test_every_whole_job_is_served_in_the_end(
    listeners: int, wholes: int, step: float, audio: float, chunks_each: int
) -> None:
    """Listeners who are always urgent, each replaced by a new one at its end, starve no whole job; and listeners go
    first for an interval between the steps of whole jobs."""
    now, turn, turns = NOW, -math.inf, []
    playout_end: list[float | None] = [None] * listeners
    since, got = [NOW] * listeners, [0] * listeners
    left = dict.fromkeys(range(wholes), 5)
    for _ in range(6000):
        priorities = [JobPriority(True, start, end, 1e9) for start, end in zip(since, playout_end, strict=True)]
        priorities += [JobPriority(False, NOW, None, 100.0, turn) for _ in left]
        first = min(range(len(priorities)), key=lambda i: urgency(priorities[i], 1.0, now))
        now += step
        if first >= listeners:
            turns.append(now - step)
            turn, job = turns[-1], list(left)[first - listeners]
            left[job] -= 1
            left = {job: steps for job, steps in left.items() if steps}
        else:
            playout_end[first] = (playout_end[first] or now) + audio
            got[first] += 1
            if got[first] == chunks_each:
                playout_end[first], since[first], got[first] = None, now, 0
        if not left:
            break
    assert not left
    # Not later - earlier, whose last bit may be rounded down.
    assert all(later >= earlier + WHOLE_JOB_INTERVAL for earlier, later in pairwise(turns))


@given(LISTENING, CHUNKS)
def test_anyone_may_start_while_the_rate_is_unknown(
    listeners: list[tuple[float, list[ChunkEstimate]]], newcomer: list[ChunkEstimate]
) -> None:
    """The engine can only learn its rate by trying; and a single listener may always start."""
    assert may_start(newcomer, listeners, None, NOW)
    assert may_start(newcomer, [], 1e-3, NOW)


@given(LISTENING, CHUNKS, st.floats(1.0, 1000.0), st.floats(1.0, 10.0))
def test_a_faster_engine_admits_no_fewer(
    listeners: list[tuple[float, list[ChunkEstimate]]], newcomer: list[ChunkEstimate], rate: float, faster: float
) -> None:
    """A listener who may start at some rate may start at a higher one."""
    if may_start(newcomer, listeners, rate, NOW):
        assert may_start(newcomer, listeners, rate * faster, NOW)


@given(st.integers(1, 8), st.floats(20.0, 800.0))
def test_nobody_starts_who_would_make_others_wait(count: int, rate: float) -> None:
    """Listeners with a second in reserve need 50 work a second each: one more may start if the rate allows it."""
    listeners = [(NOW + 1.0, steady()) for _ in range(count)]
    needed = 50.0 * (count + 1)
    if rate * MAX_UTILISATION < needed * 0.8:
        assert not may_start(steady(), listeners, rate, NOW)
    if rate * MAX_UTILISATION > needed * 1.3:
        assert may_start(steady(), listeners, rate, NOW)


def test_a_newcomer_waits_until_others_have_a_reserve() -> None:
    """A newcomer who may not start while another listener is nearly dry may once that one has a reserve."""
    rate = 120.0 / MAX_UTILISATION
    assert not may_start(steady(), [(NOW + 0.1, steady())], rate, NOW)
    assert may_start(steady(), [(NOW + 2.0, steady())], rate, NOW)


def test_audio_workers_share_the_listeners_but_not_a_listener() -> None:
    """Two workers serve two listeners where one is too slow; a second worker is of no use to a single listener."""
    listeners = [(NOW + 1.0, steady())]
    rate = 70.0 / MAX_UTILISATION
    assert may_start(steady(), listeners, rate, NOW, audio_workers=2)
    assert not may_start(steady(), listeners, rate, NOW, audio_workers=1)
    assert not may_start(steady(), [(NOW + 1.0, [ChunkEstimate(1.0, 100.0)] * 4)], rate, NOW, audio_workers=2)


def test_prebuffered_audio_lets_a_newcomer_start_sooner() -> None:
    """A newcomer who would run dry without a reserve does not with one; and one with all audio harms nobody."""
    listeners, rate = [(NOW + 1.0, steady())], 80.0 / MAX_UTILISATION
    assert not may_start(steady(), listeners, rate, NOW)
    assert may_start(steady(), listeners, rate, NOW, prebuffered_seconds=6.0)
    assert may_start([], listeners, rate, NOW, prebuffered_seconds=1.0)
