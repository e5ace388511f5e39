"""Which job's chunk is the most urgent, and whether a listener may start: pure functions of clocks and work.

A listener hears audio in real time. So the job whose listener runs dry first goes first, and no listener starts who
would make any of them run dry. Times are seconds on `time.monotonic`'s clock; work is in tokens, see `work`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import heapify, heappop, heapreplace
from itertools import islice

FIRST_AUDIO_TARGET = 0.5
"""Seconds from a listener's admission to the first audio."""
WHOLE_JOB_TARGET = 3.0
"""Seconds between two chunks of a job that is not streamed."""
URGENT_WITHIN = 0.5
"""A listener's chunk that must be started within so many seconds goes before everything that can wait."""
WHOLE_JOB_INTERVAL = 1.0
"""Every so many seconds, one overdue job that is not streamed gets a step, however urgent the listeners are: otherwise
new listeners could starve it. A step is short, so this is a small part of the engine's time."""
MAX_UTILISATION = 0.7
"""Share of the engine's speed that all listeners together may need."""
LOOKAHEAD_CHUNKS = 16
"""Chunks per job that are simulated before a listener starts: by then they have reached their full size."""
CHUNK_OVERHEAD = 20
"""Cost of a chunk beyond its tokens, in tokens: its context, and the lower efficiency of small steps."""


def work(num_tokens: int) -> float:
    """Work for a chunk of `num_tokens` tokens, lookahead included."""
    return num_tokens + CHUNK_OVERHEAD


@dataclass(frozen=True)
class ChunkEstimate:
    """A chunk to come."""

    audio_seconds: float
    work: float


@dataclass(frozen=True)
class JobPriority:
    """What the urgency of a job depends on."""

    streamed: bool
    waiting_since: float
    """When it was admitted or last got audio."""
    playout_end: float | None
    """When its listener will have heard everything; None before the first audio."""
    work: float
    """Work for its next chunk."""
    last_whole_job_step: float = -math.inf
    """When a step was last made for any job that is not streamed."""

    @property
    def due(self) -> float:
        """When its next audio is due."""
        if not self.streamed:
            return self.waiting_since + WHOLE_JOB_TARGET
        return self.waiting_since + FIRST_AUDIO_TARGET if self.playout_end is None else self.playout_end


def urgency(job: JobPriority, rate: float | None, now: float) -> tuple[bool, float]:
    """A sort key, the most urgent first: whether the job can wait, then when its audio is due.

    A streamed job can't wait when its next chunk must be started soon. A whole job can't when it is overdue and no
    whole job has had a step recently. A listener's due time moves on with every chunk and a whole job's does not, so
    the whole job's turn comes in any case. `rate`: the work that one audio worker does per second, None if unknown.
    """
    if job.streamed:
        begin = job.due - (job.work / rate if rate else 0.0)
        return begin >= now + URGENT_WITHIN, job.due
    return now < max(job.due, job.last_whole_job_step + WHOLE_JOB_INTERVAL), job.due


def may_start(
    newcomer: Iterable[ChunkEstimate],
    listeners: Iterable[tuple[float, Iterable[ChunkEstimate]]],
    rate: float | None,
    now: float,
    *,
    prebuffered_seconds: float = 0.0,
    audio_workers: int = 1,
) -> bool:
    """Whether a new listener may get the first audio without anyone, the newcomer included, running dry later.

    Simulates the coming chunks in order of urgency:

        worker 0  |A1    |B1 |A2       | …      a chunk takes work / (rate × MAX_UTILISATION) seconds;
        worker 1  |new1    |B2    | …           one job's chunks are made one after the other;
                  now                           each must be done before its listener's playout ends.

    Args:
        newcomer: the newcomer's chunks after the `prebuffered_seconds` of audio that exist.
        listeners: for each of the others, when their playout ends and the chunks they are to get.
        rate: work that one audio worker does per second; None if unknown, and then anyone may start.
        audio_workers: how many chunks are made at the same time, each of another job.
    """
    others = [(playout_end, islice(chunks, LOOKAHEAD_CHUNKS)) for playout_end, chunks in listeners]
    if not others or rate is None:
        return True
    target = now + (prebuffered_seconds or FIRST_AUDIO_TARGET)
    jobs = [(target, islice(newcomer, LOOKAHEAD_CHUNKS)), *others]
    started = prebuffered_seconds > 0
    return _all_keep_up(jobs, rate * MAX_UTILISATION, now, audio_workers, newcomer_started=started)


def _all_keep_up(
    jobs: Iterable[tuple[float, Iterator[ChunkEstimate]]],
    rate: float,
    now: float,
    audio_workers: int,
    *,
    newcomer_started: bool,
) -> bool:
    """The simulation of `may_start`. `jobs`: when each playout ends, and the chunks to come; the newcomer is first, and
    can't run dry before the first audio."""
    heap = [(playout_end, index, chunks) for index, (playout_end, chunks) in enumerate(jobs)]
    heapify(heap)
    worker_free, job_free = [now] * audio_workers, [now] * len(heap)
    while heap:
        playout_end, index, chunks = heap[0]
        chunk = next(chunks, None)
        if chunk is None:
            heappop(heap)
            continue
        done = max(worker_free[0], job_free[index]) + chunk.work / rate
        heapreplace(worker_free, done)
        job_free[index] = done
        first_audio = index == 0 and not newcomer_started
        if done > playout_end and not first_audio:
            return False
        newcomer_started = newcomer_started or index == 0
        heapreplace(heap, ((done if first_audio else playout_end) + chunk.audio_seconds, index, chunks))
    return True
