"""Applies the rules of `priority` to active jobs: whose chunk is made next, and which listener may start."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Literal

from glmtts.dsp.audio import TOKEN_RATE
from glmtts.dsp.time_stretch import DELAY_SECONDS
from glmtts.engine.scheduling.active_job import ActiveJob, ChunkTask
from glmtts.engine.scheduling.chunking import Chunk, Chunker
from glmtts.engine.scheduling.length_estimator import LengthEstimator
from glmtts.engine.scheduling.priority import ChunkEstimate, JobPriority, may_start, urgency, work

TOKEN_LEAD_SECONDS = 0.2
"""A chunk's tokens are due so long before its audio."""


class AudioPolicy:
    """Decides from clocks and estimated lengths alone; it changes no job.

    Args:
        vocoder_delay: seconds of audio that the vocoder holds back until a segment's last chunk.
        audio_workers: how many chunks are made at the same time, each of another job.
    """

    def __init__(self, lengths: LengthEstimator, *, vocoder_delay: float, audio_workers: int) -> None:
        self._lengths, self._vocoder_delay, self._audio_workers = lengths, vocoder_delay, audio_workers
        self._last_whole_job_step = -math.inf

    def note_whole_job_step(self, now: float) -> None:
        """Records that a step begins whose most urgent task is of a job that is not streamed."""
        self._last_whole_job_step = now

    def by_urgency(self, tasks: Sequence[ChunkTask], rate: float | None, now: float) -> list[ChunkTask]:
        """The tasks to work on, the most urgent first. `rate`: see `priority.urgency`.

        Those of jobs that are not audible yet come last, and only while no audible job is in a hurry, as they would
        slow it down. What is made for them is kept, so that they can start sooner.
        """
        keyed = [(urgency(self.priority_of(task.job), rate, now), i) for i, task in enumerate(tasks)]
        ordered = [(can_wait, tasks[i]) for (can_wait, _), i in sorted(keyed)]
        audible = [task for _, task in ordered if task.job.audible]
        if any(not can_wait for can_wait, task in ordered if task.job.audible):
            return audible
        return audible + [task for _, task in ordered if not task.job.audible]

    def may_start(self, job: ActiveJob, listeners: Iterable[ActiveJob], rate: float | None, now: float) -> bool:
        """Whether a streamed job may become audible beside the `listeners`, see `priority.may_start`."""
        return may_start(
            self._remaining_chunks(job),
            [(self.priority_of(other).due, self._remaining_chunks(other)) for other in listeners],
            rate,
            now,
            prebuffered_seconds=job.prebuffered_seconds,
            audio_workers=self._audio_workers,
        )

    def next_action(
        self, tasks: Sequence[ChunkTask], decoding: Sequence[ActiveJob], starved: Iterable[ActiveJob],
        rate: float | None, now: float,
    ) -> Literal["decode", "audio"] | None:  # fmt: skip
        """What a single thread should do next: decode tokens, or make the first of the chunks.

        `decoding` are all jobs with tokens to decode; the `starved` ones among them have no chunk until they get some.
        """
        if not tasks or not decoding:
            return "audio" if tasks else "decode" if decoding else None
        first = urgency(self.priority_of(tasks[0].job), rate, now)
        # Whole jobs get no turn of their own here: their rows are decoded along whenever a listener needs tokens.
        priorities = (replace(self.priority_of(job), last_whole_job_step=math.inf) for job in starved)
        needs = (urgency(priority, rate, now + TOKEN_LEAD_SECONDS) for priority in priorities)
        return "decode" if min(needs, default=first) < first else "audio"

    def remaining_seconds(self, job: ActiveJob) -> float:
        """Seconds of audio still to be made for the job, by the expected length of its text."""
        return sum(chunk.audio_seconds for chunk in self._remaining_chunks(job))

    def priority_of(self, job: ActiveJob) -> JobPriority:
        chunk = job.unfinished[0].chunk if job.unfinished else None
        tokens = chunk.lookahead_end - chunk.start if chunk is not None else 0
        return JobPriority(
            job.spec.stream, job.waiting_since, job.handle.playout_end, work(tokens), self._last_whole_job_step
        )

    def _remaining_chunks(self, job: ActiveJob) -> Iterator[ChunkEstimate]:
        """The chunks still to be made, with the one that is being made; as many as the texts are expected to need."""
        chunks: list[Iterable[Chunk]] = []
        for segment in job.unfinished:
            tokens = len(segment.tokens)
            if not segment.eos:
                tokens = max(tokens + 1, self._lengths.expected_tokens(len(segment.segment.ids)))
            chunks += [[segment.chunk] if segment.chunk is not None else [], segment.chunker.remaining(tokens)]
        for pending in job.pending:
            chunks.append(Chunker(job.chunk_schedule).remaining(self._lengths.expected_tokens(len(pending.ids))))
        stretch_delay = 0.0 if job.stretch_factor == 1.0 else DELAY_SECONDS
        held_back = (self._vocoder_delay + stretch_delay) / job.stretch_factor
        for chunk in chain.from_iterable(chunks):
            seconds = (chunk.end - chunk.start) / TOKEN_RATE / job.spec.speed
            # What the vocoder and the stretch hold back after the first chunk comes with the last.
            seconds += held_back * (chunk.last - (chunk.start == 0))
            yield ChunkEstimate(max(0.0, seconds), work(chunk.lookahead_end - chunk.start))
