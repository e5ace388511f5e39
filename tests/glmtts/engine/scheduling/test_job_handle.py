"""Both ends of a job, and the queue: no engine, no model."""

from __future__ import annotations

import time
from threading import Thread
from typing import cast

import numpy as np
import pytest

from glmtts.engine.api import Job
from glmtts.engine.scheduling.job_handle import JobHandle
from glmtts.engine.scheduling.job_queue import JobQueue
from glmtts.errors import CancelledError, EngineError, QueueFullError, QueueTimeoutError
from glmtts.voice.voice import Voice

RATE = 10


def job(*, stream: bool = True, deadline: float | None = None) -> Job:
    return Job((), cast("Voice", None), RATE, seed=0, stream=stream, deadline=deadline)


def seconds(count: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.zeros(round(count * RATE), np.float32)


def test_chunks_come_in_order_and_then_the_end() -> None:
    """A reader gets what was put in, and the report says how much that was."""
    handle = JobHandle(job())
    assert handle.start()
    for length in (1.0, 2.0):
        handle.push(seconds(length))
    handle.finish()
    assert [len(chunk) / RATE for chunk in handle.chunks()] == [1.0, 2.0]
    assert (handle.report.finish_reason, handle.report.audio_seconds) == ("stop", 3.0)


def test_a_reader_waits_for_the_next_chunk() -> None:
    """What is put in later by another thread arrives."""
    handle = JobHandle(job())
    handle.start()
    got: list[int] = []
    reader = Thread(target=lambda: got.extend(map(len, handle.chunks())))
    reader.start()
    handle.push(seconds(1))
    handle.push(seconds(3))
    handle.finish()
    reader.join(10)
    assert got == [RATE, 3 * RATE]


def test_an_error_comes_after_what_was_made() -> None:
    """A job that fails gives its reader the sound there is, then the error; and that is its only end."""
    handle = JobHandle(job())
    handle.start()
    handle.push(seconds(1))
    handle.finish(EngineError("a fault"))
    chunks = handle.chunks()
    assert len(next(chunks)) == RATE
    with pytest.raises(EngineError):
        next(chunks)
    handle.finish()
    handle.cancel()
    handle.push(seconds(1))
    assert handle.report.finish_reason == "error"
    assert handle.report.audio_seconds == 1.0


def test_a_cancelled_job_has_nothing_left_to_read() -> None:
    """Cancelling throws away what was made, tells the engine once it holds no lock, and may be done again."""
    woken: list[bool] = []
    handle = JobHandle(job(), wake=lambda: woken.append(handle.ended))
    handle.start()
    handle.push(seconds(1))
    handle.cancel()
    handle.cancel()
    assert handle.buffered_seconds == 0.0
    with pytest.raises(CancelledError):
        list(handle.chunks())
    assert handle.report.finish_reason == "cancelled"
    assert woken[0]


def test_what_a_cancelled_reader_lost_is_no_clean_end() -> None:
    """Cancelled after a good end, a job raises CancelledError if it was not yet read, and nothing if it was."""
    lost, read = JobHandle(job()), JobHandle(job())
    for handle in (lost, read):
        handle.start()
        handle.push(seconds(1))
        handle.finish()
    assert len(list(read.chunks())) == 1
    for handle in (lost, read):
        handle.cancel()
        assert handle.report.finish_reason == "stop"
    assert list(read.chunks()) == []
    with pytest.raises(CancelledError):
        list(lost.chunks())


def test_audio_that_is_not_read_is_counted() -> None:
    """What was put in and not read; reading tells the engine."""
    woken: list[float] = []
    handle = JobHandle(job(), wake=lambda: woken.append(handle.buffered_seconds))
    handle.start()
    handle.push(seconds(2))
    handle.push(seconds(1))
    assert handle.buffered_seconds == pytest.approx(3.0)
    next(handle.chunks())
    assert woken == [pytest.approx(1.0)]
    assert handle.reader_idle_seconds(time.monotonic() + 5) >= 5


def test_playout_ends_after_all_that_was_made() -> None:
    """A listener who plays from the first chunk on is done after as much time as there is audio."""
    handle = JobHandle(job())
    handle.start()
    assert handle.playout_end is None
    handle.push(seconds(2))
    start = handle.submitted + (handle.report.first_audio_seconds or 0.0)
    handle.push(seconds(1))
    assert handle.playout_end == pytest.approx(start + 3.0)


def test_a_deadline_holds_in_the_queue_only() -> None:
    """Past it, a job that waits raises QueueTimeoutError and never starts; one that has started goes on."""
    late = JobHandle(job(deadline=time.monotonic()))
    with pytest.raises(QueueTimeoutError):
        list(late.chunks())
    assert not late.start()
    assert late.report.finish_reason == "error"
    started = JobHandle(job(deadline=time.monotonic()))
    started.start()
    started.push(seconds(1))
    started.finish()
    assert len(list(started.chunks())) == 1


def test_first_come_first_served() -> None:
    """Jobs are taken in order, but for those that ended while queued; a full queue says when to come back."""
    queue = JobQueue(3)
    first, second, third = (queue.submit(job(), 1.0) for _ in range(3))
    with pytest.raises(QueueFullError) as caught:
        queue.submit(job(), 1.0, retry_after=7.0)
    assert caught.value.retry_after == 7.0
    second.cancel()
    assert queue.num_waiting() == 2
    assert [queue.pop(), queue.pop(), queue.pop()] == [first, third, None]
    assert (queue.num_waiting(), queue.num_running()) == (0, 2)


def test_backlog_is_what_waits_and_what_is_left_of_what_runs() -> None:
    """Seconds expected of jobs in the queue, and of running ones what has not been made."""
    queue = JobQueue(3)
    queue.submit(job(), 4.0)
    queue.submit(job(), 5.0)
    running = queue.pop()
    assert running is not None
    running.start()
    running.push(seconds(3))
    assert queue.backlog_seconds() == pytest.approx(6.0)
    assert queue.buffered_seconds() == pytest.approx(3.0)
    assert queue.backlog_seconds(lambda handle: 0.5) == pytest.approx(5.5)


def test_what_a_slow_reader_of_a_finished_job_has_not_taken_still_counts() -> None:
    """Its sound takes memory until it has been read, also when the job has long left."""
    queue = JobQueue(1)
    handle = queue.submit(job(), 4.0)
    assert queue.pop() is handle
    handle.start()
    for _ in range(3):
        handle.push(seconds(0.3))
    handle.finish()
    queue.finish(handle)
    assert queue.buffered_seconds() == pytest.approx(0.9)
    chunks = handle.chunks()
    next(chunks)
    assert queue.buffered_seconds() == pytest.approx(0.6)
    assert len(list(chunks)) == 2
    assert queue.buffered_seconds() == 0.0


def test_a_closed_queue_lets_jobs_finish_for_a_while() -> None:
    """Closing waits for jobs to leave, then cancels the rest; afterwards nothing is taken in."""
    queue = JobQueue(3)
    queue.submit(job(), 1.0)
    running = queue.pop()
    assert running is not None
    worker = Thread(target=lambda: (running.wait(0.05), running.finish(), queue.finish(running)))
    worker.start()
    queue.close(grace=60.0)
    worker.join(10)
    assert running.report.finish_reason == "stop"
    with pytest.raises(EngineError):
        queue.submit(job(), 1.0)
    hurried = JobQueue(3)
    left = hurried.submit(job(), 1.0)
    hurried.close()
    assert left.report.finish_reason == "cancelled"


def test_who_looks_first_and_then_sleeps_misses_nothing() -> None:
    """`sleep` returns at once when something has happened since the version that its caller saw."""
    queue = JobQueue(3)
    seen = queue.version
    queue.submit(job(), 1.0)
    queue.sleep(seen)
    assert queue.version != seen
