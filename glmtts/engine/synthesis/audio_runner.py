"""Audio steps: chunks of several jobs through the flow, then through the vocoder, each in batches.

A step works on the most urgent task, and takes along those that fit into its batch. A batch that fails is retried task
by task, once, so that a task that can't be done fails alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch

from glmtts.checkpoint.loader import Model
from glmtts.dsp.audio import EMPTY_WAVE, Wave
from glmtts.engine.config import AudioLimits
from glmtts.engine.scheduling.active_job import ActiveJob, ChunkTask
from glmtts.engine.synthesis.audio_recordings import AudioRecordings
from glmtts.engine.synthesis.flow_chunks import FlowChunks, segment_audio
from glmtts.engine.synthesis.retries import RetryCounter, to_engine_error
from glmtts.engine.synthesis.segment_audio import SegmentAudio, render_next
from glmtts.models.vocoder.interface import Vocoder


class ChunkResult(NamedTuple):
    """New audio of a chunk, or why there will be none. A chunk that is still in the flow has no result."""

    task: ChunkTask
    wave: Wave
    chunk_done: bool
    error: Exception | None = None


class AudioStep(NamedTuple):
    """What a step did: its stage, the tasks in its batch, and the results, also of tasks that failed before it."""

    stage: Literal["flow", "vocoder"]
    batch: list[ChunkTask]
    results: list[ChunkResult]


class AudioRunner:
    """One model's flow and vocoders. Several threads may use it, each for the jobs that it has claimed."""

    def __init__(self, model: Model, limits: AudioLimits, recordings: AudioRecordings | None = None) -> None:
        self._vocoders, self._limits, self._recordings = model.vocoders, limits, recordings
        self._flow = FlowChunks(model.flow, model.vocoders, limits, model.device, recordings)
        self.voice_prompts = self._flow.voice_prompts
        self.retries = RetryCounter("A batch of chunks")

    @torch.inference_mode()
    def step(self, tasks: Sequence[ChunkTask]) -> AudioStep:
        """One step of the flow or of the vocoder, for the first task and those that can join it. One task per job."""
        failed = [result for task in tasks for result in self._run_alone(self._prepare_chunks, task)]
        failed_jobs = {result.task.job for result in failed}
        prepared = [task for task in tasks if task.job not in failed_jobs]
        in_flow = [task for task in prepared if segment_audio(task).ready_chunk is None]
        if in_flow[:1] == prepared[:1]:
            batch = self._flow_batch(in_flow)
            return AudioStep("flow", batch, failed + self._run_or_retry_each(self._run_flow, batch))
        batch = self._vocoder_batch([task for task in prepared if segment_audio(task).ready_chunk is not None])
        return AudioStep("vocoder", batch, failed + self._run_or_retry_each(self._run_vocoder, batch))

    def needs_prefill(self, job: ActiveJob) -> bool:
        """Whether `prefill_voice` may have something to do for the job."""
        return self._flow.needs_prefill(job)

    @torch.inference_mode()
    def prefill_voice(self, job: ActiveJob) -> bool:
        """One flow step for a job's voice, ahead of its first chunk; False when there was nothing to do."""
        try:
            return self._flow.prefill_voice(job)
        except Exception as error:  # the first chunk will try again, and end the job if it fails
            self.retries.record(1, error)
            return False

    def _run_or_retry_each(
        self, run: Callable[[list[ChunkTask]], list[ChunkResult]], batch: list[ChunkTask]
    ) -> list[ChunkResult]:
        if not batch:
            return []
        try:
            return run(batch)
        except Exception as error:
            self.retries.record(len(batch), error)
        return [result for task in batch for result in self._run_alone(run, task)]

    @staticmethod
    def _run_alone(run: Callable[[list[ChunkTask]], list[ChunkResult]], task: ChunkTask) -> list[ChunkResult]:
        try:
            return run([task])
        except Exception as error:
            return [ChunkResult(task, EMPTY_WAVE, True, to_engine_error(error))]

    def _prepare_chunks(self, tasks: list[ChunkTask]) -> list[ChunkResult]:
        for task in tasks:
            self._flow.prepare(task)
        return []

    def _flow_batch(self, tasks: Sequence[ChunkTask]) -> list[ChunkTask]:
        """The first task, and those after it that fit into a padded batch with it."""
        batch = list(tasks[:1])
        for task in tasks[1:]:
            if self._flow.can_share_step([*batch, task]):
                batch.append(task)
        return batch

    def _vocoder_batch(self, tasks: Sequence[ChunkTask]) -> list[ChunkTask]:
        """The first task, and those after it of the same sample rate."""
        rate = tasks[0].job.spec.sample_rate
        same_rate = [task for task in tasks if task.job.spec.sample_rate == rate]
        return same_rate[: max(1, self._limits.max_batch_frames // self._limits.vocoder_frames)]

    def _run_flow(self, batch: list[ChunkTask]) -> list[ChunkResult]:
        self._flow.step(batch)
        return []

    def _run_vocoder(self, batch: list[ChunkTask]) -> list[ChunkResult]:
        vocoder = self._vocoders[batch[0].job.spec.sample_rate]
        audios = [segment_audio(task) for task in batch]
        waves = self._render(vocoder, audios)
        return [
            ChunkResult(task, EMPTY_WAVE if wave is None else wave, audio.finish_chunk_if_rendered())
            for task, audio, wave in zip(batch, audios, waves, strict=True)
        ]

    def _render(self, vocoder: Vocoder, audios: Sequence[SegmentAudio]) -> list[Wave | None]:
        if self._recordings is None:
            return render_next(vocoder, audios, self._limits.vocoder_frames)
        with self._recordings.lock:
            recorded = self._recordings.windows.get(vocoder.sample_rate)
            return render_next(vocoder, audios, self._limits.vocoder_frames, recorded)
