"""The engine's loop: decode steps and audio steps, each for as many jobs as can share it.

One thread decodes, and one or more others make audio (on a GPU in CUDA streams of their own); or a single thread does
whatever is the most urgent. The scheduler decides what a step is for, the runners compute it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from glmtts.checkpoint.loader import Model
from glmtts.engine.config import AudioLimits, EngineOptions
from glmtts.engine.runtime.threads import WorkerSpec
from glmtts.engine.scheduling.active_job import ActiveJob, ChunkTask, DecodeTask, SegmentState
from glmtts.engine.scheduling.job_queue import JobQueue
from glmtts.engine.scheduling.priority import work
from glmtts.engine.scheduling.scheduler import Scheduler
from glmtts.engine.stats import ROWS_BOUNDS, SECONDS_BOUNDS, Histogram, Throughput
from glmtts.engine.synthesis.audio_recordings import AudioRecordings, Recording
from glmtts.engine.synthesis.audio_runner import AudioRunner, ChunkResult
from glmtts.engine.synthesis.decode_runner import DecodeRunner
from glmtts.engine.synthesis.retries import to_engine_error
from glmtts.models.graphs import RecordedSteps, Recorder
from glmtts.models.llm.alignment import align
from glmtts.models.llm.decoder import DecodeRequest
from glmtts.models.llm.prompt import prompt_layout


class EngineLoop:
    """The steps of one engine, and their statistics. Uses the scheduler under the queue's lock only."""

    def __init__(
        self,
        model: Model,
        options: EngineOptions,
        audio_limits: AudioLimits,
        num_threads: int,
        queue: JobQueue,
        scheduler: Scheduler,
        *,
        make_recorder: Callable[[], Recorder] | None = None,
        graph_bytes: int = 0,
    ) -> None:
        self._model, self._special, self._queue, self._scheduler = model, model.special, queue, scheduler
        self._prefill_chunk = options.limits.prefill_chunk
        self._num_threads, self._audio_workers = num_threads, max(1, num_threads - 1)
        # Decoding and audio run at the same time, so each has a recorder of its own. A prompt is fed between two steps.
        recorder = make_recorder() if make_recorder is not None else None
        self.decode: DecodeRunner[DecodeTask] = DecodeRunner(
            model, options.max_num_seqs, fixed_shape=options.deterministic, steps=RecordedSteps(recorder),
            prefill_steps=RecordedSteps(recorder), prefill_chunk=self._prefill_chunk,
        )  # fmt: skip
        self._audio_recordings: AudioRecordings | None = None
        if make_recorder is not None:
            self._audio_recordings = AudioRecordings(
                model, make_recorder(), options.chunk_schedule, audio_limits, max_rows=options.max_num_seqs,
                max_bytes=graph_bytes,
            )  # fmt: skip
            graph_bytes -= self._audio_recordings.blocks.nbytes
        self.free_graph_bytes = graph_bytes
        """What is left of `graph_bytes` for recording."""
        self.audio = AudioRunner(model, audio_limits, self._audio_recordings)
        decode, audio = ("all", "all") if num_threads == 1 else ("decode", "audio")
        self._thread_group = {"prefill": decode, "decode": decode, "flow": audio, "vocoder": audio}
        self.throughput = Throughput({decode: 1, audio: self._audio_workers})
        self.step_seconds, self.step_rows = Histogram(SECONDS_BOUNDS), Histogram(ROWS_BOUNDS)
        self.flow_rows = Histogram(ROWS_BOUNDS)
        self.failures = 0

    def workers(self) -> list[WorkerSpec]:
        """The threads that run this loop."""
        cores = torch.get_num_threads()
        if self._num_threads == 1:
            return [WorkerSpec("engine", self._run_single_threaded, cores)]
        # A decode step is too small to be parallel itself. Workers may outnumber the cores, as they wait for each other
        # at no barrier; the threads within a step must not.
        share = max(1, (cores - 1) // self._audio_workers)
        audio = [WorkerSpec(f"audio {i}", self._audio_step, share, own_stream=True) for i in range(self._audio_workers)]
        return [WorkerSpec("decode", self._decode_step, 1), *audio]

    def recordings(self) -> list[Recording]:
        """The steps that can be recorded before the first job."""
        decoder = self.decode.decoder
        decode = [
            Recording("decode", rows.stop, lambda r=rows, n=length: decoder.record(r, n))  # type: ignore[misc]
            for rows, length in decoder.shapes()
        ]
        prefill = [
            Recording("prefill", 1, lambda s=shape: decoder.record_prefill(s))  # type: ignore[misc]
            for shape in decoder.recorded_prefill.shapes
        ]
        return decode + prefill + (self._audio_recordings.all() if self._audio_recordings is not None else [])

    def recorded_steps(self) -> dict[str, RecordedSteps]:
        """By stage."""
        audio = self._audio_recordings
        stages = {} if audio is None else {"flow": audio.flow_steps, "vocoder": audio.vocoder_steps}
        decoder = self.decode.decoder
        return {"prefill": decoder.recorded_prefill.steps, "decode": decoder.steps, **stages}

    def fail_all(self, error: Exception) -> None:
        """Ends every active job with an error."""
        with self._queue.changed:
            for job in self._scheduler.jobs:
                self._fail(job, error)

    def _run_single_threaded(self) -> bool:
        with self._queue.changed:
            self._sweep_and_admit()
            now, rate = time.monotonic(), self._worker_throughput()
            action = self._scheduler.next_action(now, rate, self._scheduler.schedule_audio(now, rate))
        return self._audio_step() if action == "audio" else self._decode_step()

    def _fail(self, job: ActiveJob, error: Exception) -> None:
        self.failures += 1
        self._scheduler.fail(job, to_engine_error(error))

    def _record_time(self, stage: str, jobs: list[ActiveJob], start: float) -> None:
        """Adds the time since `start` to a stage, divided equally among the jobs."""
        end = time.monotonic()
        self.throughput.add_busy(self._thread_group[stage], end - start)
        for job in jobs:
            job.handle.report.add_time(stage, start, end, 1 / len(jobs))

    # Decoding

    def _sweep_and_admit(self) -> None:
        """Releases and admits jobs. Only the decoding thread may: it knows that no decode step is under way."""
        now = time.monotonic()
        self._scheduler.sweep(now)
        self._scheduler.admit(now)
        for slot in self._scheduler.pop_released_slots():
            self.decode.release(slot)

    def _decode_step(self) -> bool:
        """A chunk of one prompt, and a token for every row; False if there is neither."""
        with self._queue.changed:
            self._sweep_and_admit()
            prefill = self._scheduler.next_prefill()
        if prefill is not None:
            self._prefill(prefill)
        with self._queue.changed:
            tasks = self._scheduler.decode_tasks()  # a row whose prompt is now complete decodes in this very step
        if tasks or self.decode.has_pending_readback:
            self._decode(tasks)
        return prefill is not None or bool(tasks)

    def _prefill(self, task: DecodeTask) -> None:
        start = time.monotonic()
        job, segment = task
        ids = prompt_layout(segment.prompt.text, segment.segment.ids, segment.prompt.speech, self._special)
        index, attempt = segment.segment.index, segment.draws.attempt
        request = DecodeRequest(ids, segment.prompt.bounds, job.spec.seed, index, attempt)
        try:
            self.decode.prefill(job.slot, request, segment.num_prefilled, self._prefill_chunk)
        except Exception as error:
            with self._queue.changed:
                self._fail(job, error)
            return
        with self._queue.changed:
            self._scheduler.on_prefill(task)
        self._record_time("prefill", [job], start)

    def _decode(self, tasks: dict[int, DecodeTask]) -> None:
        start = time.monotonic()
        results = self.decode.step(tasks)
        for task, result in results:
            if task.segment.segment.words and not isinstance(result, Exception):
                self._align(task.segment, result)
        with self._queue.changed:
            for task, result in results:
                if isinstance(result, Exception):
                    self._fail(task.job, result)
                else:
                    self._scheduler.on_token(task, result)
            self._queue.notify()
        if tasks:
            self.step_seconds.observe(time.monotonic() - start)
            self.step_rows.observe(len(tasks))
            self._record_time("decode", [task.job for task in tasks.values()], start)

    def _align(self, segment: SegmentState, token: int | None) -> None:
        """If the segment ends with this token: which text id each of its tokens speaks, if the checkpoint can tell.

        Before the scheduler knows the end, so that no audio worker can finish the segment without.
        """
        heads, ids = self._model.generation.alignment_heads, segment.segment.ids
        tokens = segment.tokens if token is None else [*segment.tokens, token]
        if heads and tokens and segment.draws.ends_with(token):
            segment.alignment, segment.certain_ids = align(self._model.llm, self._special, heads, ids, tokens)

    # Audio

    def _worker_throughput(self) -> float | None:
        """The work that one audio worker does per second."""
        rate = self.throughput.work_rate
        return rate and rate / self._audio_workers

    def _audio_step(self) -> bool:
        """A step of the flow or the vocoder for the most urgent chunks; False if there is nothing to do."""
        with self._queue.changed:
            tasks = self._claim_chunks()
        if not tasks:
            return self._prefill_voice()
        # A step reports errors of its tasks. If it raises, `fail_all` ends the claimed jobs with the others.
        start = time.monotonic()
        step = self.audio.step(tasks)
        if step.batch:
            self._record_time(step.stage, [task.job for task in step.batch], start)
            if step.stage == "flow":
                self.flow_rows.observe(len(step.batch))
        with self._queue.changed:
            for task in tasks:
                task.job.claimed = False
            for result in step.results:
                self._take_audio(result)
            if step.results or self._audio_workers > 1:
                self._queue.notify()
        return True

    def _claim_chunks(self) -> list[ChunkTask]:
        """Claims jobs that no other audio worker works on: one if there are several workers, otherwise all."""
        now = time.monotonic()
        tasks = [t for t in self._scheduler.schedule_audio(now, self._worker_throughput()) if not t.job.claimed]
        if self._audio_workers > 1:
            tasks = tasks[:1]
        for task in tasks:
            task.job.claimed = True
        if tasks:
            self._scheduler.on_audio_step(tasks[0], now)
        return tasks

    def _take_audio(self, result: ChunkResult) -> None:
        task, wave, chunk_done, error = result
        if error is not None:
            self._fail(task.job, error)
            return
        self._scheduler.on_audio(task, wave, time.monotonic(), chunk_done=chunk_done)
        done = work(task.chunk.lookahead_end - task.chunk.start) if chunk_done else 0.0
        self.throughput.add_output(len(wave) / task.job.spec.sample_rate, done)

    def _prefill_voice(self) -> bool:
        """While there is no chunk to make: a step for the voice of a job that is still being decoded."""
        with self._queue.changed:
            jobs = [job for job in self._scheduler.jobs if not job.claimed and self.audio.needs_prefill(job)]
        return any(self._prefill_voice_of(job) for job in jobs)

    def _prefill_voice_of(self, job: ActiveJob) -> bool:
        with self._queue.changed:
            if job.claimed:
                return False
            job.claimed = True
        start = time.monotonic()
        stepped = self.audio.prefill_voice(job)
        with self._queue.changed:
            job.claimed = False
            if self._audio_workers > 1:
                self._queue.notify()
        if stepped:
            self._record_time("flow", [job], start)
        return stepped
