"""The life of a job on the device: it gets a slot, its segments are prefilled, decoded and made into audio, it ends.

A job keeps its slot until it ends. Its segments are decoded one after the other, each prompted with those before, and
become audio in the same order, chunk by chunk. Call all methods with the queue's lock held; they are quick.
`AudioPolicy` decides whose chunk is the most urgent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Literal, get_args

from glmtts.config import GenerationConfig
from glmtts.dsp.audio import Wave
from glmtts.dsp.time_stretch import SpeedRange
from glmtts.engine.api import Job
from glmtts.engine.config import ChunkSchedule, SchedulerLimits
from glmtts.engine.scheduling.active_job import ActiveJob, ChunkTask, DecodeTask, SegmentState
from glmtts.engine.scheduling.audio_policy import AudioPolicy
from glmtts.engine.scheduling.chunking import WHOLE_SEGMENT, Chunker
from glmtts.engine.scheduling.job_handle import JobHandle
from glmtts.engine.scheduling.job_queue import JobQueue
from glmtts.engine.scheduling.length_estimator import LengthEstimator
from glmtts.engine.scheduling.redraws import SegmentDraws, worse
from glmtts.engine.scheduling.slots import Slots
from glmtts.engine.stats import RedrawReason
from glmtts.errors import GlmTtsError
from glmtts.models.llm.history import History


class Scheduler:
    """Schedules the jobs of a queue over `num_slots` slots.

    Args:
        make_history: the history that a job's first segment is prompted with.
        lengths: learns from every segment that has been decoded.
        generation: decides which segments are drawn again, and how fast the flow speaks.
        vocoder_delay, audio_workers: see `AudioPolicy`.
        max_voices: see `Slots`.
    """

    def __init__(
        self,
        queue: JobQueue,
        num_slots: int,
        make_history: Callable[[Job], History],
        lengths: LengthEstimator,
        *,
        generation: GenerationConfig,
        chunk_schedule: ChunkSchedule,
        limits: SchedulerLimits,
        vocoder_delay: float = 0.0,
        audio_workers: int = 1,
        max_voices: int | None = None,
    ) -> None:
        self._queue, self._make_history, self._lengths = queue, make_history, lengths
        self._generation, self._chunk_schedule, self._limits = generation, chunk_schedule, limits
        self._speed_range = SpeedRange(generation.min_speed, generation.max_speed)
        self._policy = AudioPolicy(lengths, vocoder_delay=vocoder_delay, audio_workers=audio_workers)
        self._slots = Slots(num_slots, max_voices)
        self._prefills: deque[ActiveJob] = deque()
        """Jobs whose prompts are to be fed, and before them those that draw a segment again and keep its prompt."""
        self.redraws: dict[RedrawReason, int] = dict.fromkeys(get_args(RedrawReason), 0)
        """How often a segment was drawn again, by reason."""

    def set_chunk_schedule(self, schedule: ChunkSchedule) -> None:
        """For jobs that are admitted from now on."""
        self._chunk_schedule = schedule

    @property
    def jobs(self) -> list[ActiveJob]:
        """The jobs that hold a slot, in order of admission."""
        return list(self._slots)

    # Admission and release

    def sweep(self, now: float) -> None:
        """Releases jobs that have ended, drops slow readers, and resumes jobs whose readers read again."""
        for job in self.jobs:
            if self.is_backpressured(job) and job.handle.reader_idle_seconds(now) > self._limits.reader_timeout:
                job.handle.drop_slow_reader()
            if job.handle.ended:
                self._release(job)
            elif job.decoding is None:
                self._start_next_segment(job)

    def admit(self, now: float) -> None:
        """Gives free slots to the jobs that have waited longest. One that can't have one yet holds up all after it."""
        while (handle := self._next_admissible()) is not None:
            self._queue.pop()
            spec = handle.job
            speeds = flow_speed, _ = self._speed_range.split(spec.speed)
            schedule = self._chunk_schedule.scaled(spec.speed, flow_speed) if spec.stream else WHOLE_SEGMENT
            slot = self._slots.reserve()
            job = ActiveJob(handle, slot, self._make_history(spec), schedule, now, deque(spec.segments), *speeds)
            self._slots.add(job)
            handle.report.add_time("queue", handle.submitted, now)
            if not spec.stream:
                job.make_audible()
            self._start_next_segment(job)

    def _next_admissible(self) -> JobHandle | None:
        handle = self._queue.first()
        return handle if handle is not None and self._slots.admits(handle.job) else None

    def pop_released_slots(self) -> list[int]:
        """Slots whose rows must be stopped before the next decode step."""
        return self._slots.pop_released()

    def fail(self, job: ActiveJob, error: Exception) -> None:
        """Ends a job with `error`."""
        job.handle.finish(error)
        self._release(job)

    def is_backpressured(self, job: ActiveJob) -> bool:
        """Whether the job is paused because its reader has not taken what there is."""
        return job.buffered_seconds > self._limits.max_buffered_seconds

    def has_runnable(self) -> bool:
        """Whether any job can make progress without its reader, or can be admitted."""
        with self._queue.changed:
            if self._next_admissible() is not None:
                return True
            return any(not job.handle.ended and not self.is_backpressured(job) for job in self._slots)

    def remaining_seconds(self, job: ActiveJob) -> float:
        """Seconds of audio still to be made for the job, estimated from its text."""
        return self._policy.remaining_seconds(job)

    def _release(self, job: ActiveJob) -> None:
        if job not in self._slots:
            return
        self._slots.remove(job)
        if job in self._prefills:
            self._prefills.remove(job)
        self._queue.finish(job.handle)

    # Prefill and decode

    def _start_next_segment(self, job: ActiveJob) -> None:
        """Queues the next segment for prefill unless the reader is too far behind; finishes the job after the last."""
        if not job.pending and not job.unfinished:
            if not job.audible:
                job.make_audible()
            job.handle.finish()
            self._release(job)
        if not job.pending or self.is_backpressured(job):
            return
        segment = job.pending.popleft()
        try:
            prompt = job.history.prompt(segment.ids, segment.weight)
        except GlmTtsError as error:
            self.fail(job, error)
            return
        draws = SegmentDraws(self._generation, len(segment.ids), prompt.bounds)
        job.decoding = SegmentState(segment, prompt, Chunker(job.chunk_schedule), draws)
        job.unfinished.append(job.decoding)
        self._prefills.append(job)

    def next_prefill(self) -> DecodeTask | None:
        """The segment whose prompt to feed next, `SchedulerLimits.prefill_chunk` ids from `num_prefilled` on.

        There are none left to feed when it is drawn again: then its row just starts over.
        """
        if not self._prefills:
            return None
        job = self._prefills[0]
        assert job.decoding is not None
        return DecodeTask(job, job.decoding)

    def on_prefill(self, task: DecodeTask) -> None:
        """Records that one chunk of the prompt has been fed."""
        job, segment = task
        segment.num_prefilled = min(segment.num_prefilled + self._limits.prefill_chunk, segment.prefill_length)
        if segment.prefilled and job in self._prefills:
            self._prefills.remove(job)

    def decode_tasks(self) -> dict[int, DecodeTask]:
        """By slot, the segments that get a token in the next decode step."""
        return {
            job.slot: DecodeTask(job, job.decoding)
            for job in self._slots
            if job.decoding is not None and job.decoding.prefilled and job not in self._prefills
        }

    def on_token(self, task: DecodeTask, token: int | None) -> None:
        """Adds a decoded token, or ends the segment (None). Ignores what arrives after the job or segment has ended."""
        job, segment = task
        if segment.eos or job not in self._slots:
            return
        reason = segment.draws.add(token)
        if reason is not None:
            self.redraws[reason] += 1
            job.handle.report.redraws += 1
            self._prefills.appendleft(job)
        elif segment.eos:
            self._end_decoding(job, segment)

    def _end_decoding(self, job: ActiveJob, segment: SegmentState) -> None:
        job.handle.outcome = worse(job.handle.outcome, segment.draws.finish_reason)
        ids, tokens = segment.segment.ids, segment.tokens
        job.history.add(ids, tokens)
        segment.history_after = job.history.segments
        self._lengths.update(len(ids), len(tokens))
        job.decoding = None
        if not tokens:
            job.finish_segment(segment)
        self._start_next_segment(job)

    # Audio

    def _start_listeners(self, now: float, rate: float | None) -> None:
        """Makes jobs audible, in order of arrival, as long as the engine can keep up with all listeners."""
        waiting = [job for job in self._slots if not job.audible and job.first_ready_at is not None]
        if not waiting:
            return
        # A reader that does not read ran dry long ago by the clock, and yet needs nothing.
        listeners = [j for j in self._slots if j.audible and j.spec.stream and not self.is_backpressured(j)]
        for job in sorted(waiting, key=lambda job: job.waiting_since):
            if not self._policy.may_start(job, listeners, rate, now):
                return  # in order: a later job must not overtake
            if job.make_audible() and job.first_ready_at is not None:
                job.handle.report.add_time("queue", job.first_ready_at, now)
                job.waiting_since = now
                listeners.append(job)
                self._queue.notify()  # another audio worker may claim its first chunk

    def schedule_audio(self, now: float, rate: float | None) -> list[ChunkTask]:
        """Starts listeners, and returns the chunks to work on: one per job, the most urgent first.

        `rate`: the work that one audio worker does per second (`priority.work`), None if unknown.
        """
        tasks = []
        for job in self._slots:
            chunk = job.current_chunk()
            if chunk is not None and not job.handle.ended and not self.is_backpressured(job):
                job.first_ready_at = job.first_ready_at or now
                tasks.append(ChunkTask(job, job.unfinished[0], chunk))
        self._start_listeners(now, rate)
        return self._policy.by_urgency(tasks, rate, now)

    def on_audio_step(self, first: ChunkTask, now: float) -> None:
        """An audio step begins, in which `first` is the most urgent task."""
        if not first.job.spec.stream:
            self._policy.note_whole_job_step(now)

    def on_audio(self, task: ChunkTask, wave: Wave, now: float, *, chunk_done: bool) -> None:
        """Passes new audio of a chunk to the reader. Ignores what arrives after the job has ended.

        `chunk_done`: whether this is the chunk's last audio.
        """
        job, segment, chunk = task
        if job not in self._slots or segment.chunk is not chunk:
            return
        if job.audible:
            job.waiting_since = now
        segment_done = chunk_done and chunk.last
        if chunk_done:
            segment.chunk = None
        if segment_done:
            job.finish_segment(segment, wave)
        else:
            job.push_speech(segment, wave)
        if segment_done and job.decoding is None:
            self._start_next_segment(job)

    def next_action(self, now: float, rate: float | None, chunks: list[ChunkTask]) -> Literal["decode", "audio"] | None:
        """What a single thread should do next; `chunks` come from `schedule_audio`."""
        decoding = [job for job in self._slots if job.decoding is not None]
        starved = [job for job in decoding if job.unfinished[0].chunk is None and not self.is_backpressured(job)]
        return self._policy.next_action(chunks, decoding, starved, rate, now)
