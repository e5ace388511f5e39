"""Who goes first and who may begin, whatever the clocks say."""

from __future__ import annotations

import math
from itertools import pairwise

from hypothesis import given
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
    """Ten seconds of sound, for 50 of work each."""
    return [ChunkEstimate(1.0, 50.0)] * count


@given(st.lists(LISTENERS, min_size=1, max_size=8))
def test_who_runs_dry_first_goes_first(listeners: list[JobPriority]) -> None:
    """Among listeners who all wait, or of whose work nothing is known, the first to run dry is first."""
    first = min(listeners, key=lambda job: urgency(job, None, NOW))
    assert first.playout_end == min(job.due for job in listeners)


def test_newcomers_are_due_soon_and_whole_jobs_later() -> None:
    """A listener's first sound is due in half a second, a job's that nobody listens to in three."""
    assert JobPriority(True, NOW, None, 1.0).due == NOW + FIRST_AUDIO_TARGET
    assert JobPriority(False, NOW, NOW, 1.0).due == NOW + WHOLE_JOB_TARGET


@given(
    st.floats(0.0, 1000.0),
    st.floats(0.0, 0.99 * WHOLE_JOB_INTERVAL),
    st.floats(0.0, 10.0),
    st.floats(1.0, 300.0),
    RATES,
)
def test_whole_jobs_pass_a_listener_in_need_once_a_turn_at_most(
    age: float, ago: float, lead: float, work: float, rate: float | None
) -> None:
    """However long a whole job has waited: while one has just had its turn, who is in need is before all of them."""
    whole = JobPriority(False, NOW - age, None, work, last_whole_job_step=NOW - ago)
    listener = JobPriority(True, NOW, NOW + lead, work)
    if NOW + lead - (work / rate if rate else 0.0) < NOW + URGENT_WITHIN:
        assert urgency(listener, rate, NOW) < urgency(whole, rate, NOW)


@given(
    listeners=st.integers(1, 8),
    wholes=st.integers(1, 4),
    step=st.floats(0.02, 0.4),
    sound=st.floats(0.05, 1.0),
    patience=st.integers(1, 30),
)
def test_every_whole_job_is_served_in_the_end(
    listeners: int, wholes: int, step: float, sound: float, patience: int
) -> None:
    """Listeners who are always in need, of whom the next one comes when one ends, keep no whole job waiting for ever;
    and between two turns of whole jobs lies the time in which listeners are before them."""
    now, turn, turns = NOW, -math.inf, []
    dry_at: list[float | None] = [None] * listeners
    came, got = [NOW] * listeners, [0] * listeners
    left = dict.fromkeys(range(wholes), 5)
    for _ in range(6000):
        standings = [JobPriority(True, began, dry, 1e9) for began, dry in zip(came, dry_at, strict=True)]
        standings += [JobPriority(False, NOW, None, 100.0, turn) for _ in left]
        first = min(range(len(standings)), key=lambda i: urgency(standings[i], 1.0, now))
        now += step
        if first >= listeners:
            turns.append(now - step)
            turn, job = turns[-1], list(left)[first - listeners]
            left[job] -= 1
            left = {job: steps for job, steps in left.items() if steps}
        else:
            dry_at[first] = (dry_at[first] or now) + sound
            got[first] += 1
            if got[first] == patience:
                dry_at[first], came[first], got[first] = None, now, 0
        if not left:
            break
    assert not left
    assert all(later - earlier >= WHOLE_JOB_INTERVAL for earlier, later in pairwise(turns))


@given(LISTENING, CHUNKS)
def test_without_a_speed_everybody_begins(
    speaking: list[tuple[float, list[ChunkEstimate]]], newcomer: list[ChunkEstimate]
) -> None:
    """As long as nothing is known of how fast the engine works, it is tried; and who is alone may always."""
    assert may_start(newcomer, speaking, None, NOW)
    assert may_start(newcomer, [], 1e-3, NOW)


@given(LISTENING, CHUNKS, st.floats(1.0, 1000.0), st.floats(1.0, 10.0))
def test_a_faster_engine_lets_in_no_less(
    speaking: list[tuple[float, list[ChunkEstimate]]], newcomer: list[ChunkEstimate], rate: float, faster: float
) -> None:
    """Who may begin at some speed may at a higher one."""
    if may_start(newcomer, speaking, rate, NOW):
        assert may_start(newcomer, speaking, rate * faster, NOW)


@given(st.integers(1, 8), st.floats(20.0, 800.0))
def test_nobody_begins_who_would_make_others_wait(listeners: int, rate: float) -> None:
    """Listeners with a second in hand who need 50 a second each: one more may come when that is not too much."""
    speaking = [(NOW + 1.0, steady()) for _ in range(listeners)]
    needed = 50.0 * (listeners + 1)
    if rate * MAX_UTILISATION < needed * 0.8:
        assert not may_start(steady(), speaking, rate, NOW)
    if rate * MAX_UTILISATION > needed * 1.3:
        assert may_start(steady(), speaking, rate, NOW)


def test_a_newcomer_waits_until_those_before_him_have_something_in_hand() -> None:
    """What does not fit while another is nearly dry fits once he has heard less than was made."""
    rate = 120.0 / MAX_UTILISATION
    assert not may_start(steady(), [(NOW + 0.1, steady())], rate, NOW)
    assert may_start(steady(), [(NOW + 2.0, steady())], rate, NOW)


def test_audio_workers_share_the_listeners_but_not_a_listener() -> None:
    """One worker is too slow for two listeners where two are not; for one listener, a second one is of no use."""
    speaking = [(NOW + 1.0, steady())]
    rate = 70.0 / MAX_UTILISATION
    assert may_start(steady(), speaking, rate, NOW, audio_workers=2)
    assert not may_start(steady(), speaking, rate, NOW, audio_workers=1)
    assert not may_start(steady(), [(NOW + 1.0, [ChunkEstimate(1.0, 100.0)] * 4)], rate, NOW, audio_workers=2)


def test_what_was_made_in_advance_lets_a_newcomer_begin_sooner() -> None:
    """Who would run dry with nothing in hand does not with some seconds; and who has everything harms nobody."""
    speaking, rate = [(NOW + 1.0, steady())], 80.0 / MAX_UTILISATION
    assert not may_start(steady(), speaking, rate, NOW)
    assert may_start(steady(), speaking, rate, NOW, prebuffered_seconds=6.0)
    assert may_start([], speaking, rate, NOW, prebuffered_seconds=1.0)
