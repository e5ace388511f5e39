"""The engine: many jobs at once on one device, decoded together and made into audio while they are being decoded."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import torch

from glmtts.checkpoint.loader import Model
from glmtts.config import GenerationConfig
from glmtts.dsp.audio import FRAME_RATE, TOKEN_RATE
from glmtts.engine.api import EngineInfo, Job
from glmtts.engine.config import DEFAULT_OPTIONS, AudioLimits, EngineOptions
from glmtts.engine.runtime.loop import EngineLoop
from glmtts.engine.runtime.memory_plan import MemoryNeeds, MemoryPlan, budget, weight_bytes
from glmtts.engine.runtime.offline import validate_request
from glmtts.engine.runtime.recording import record_all
from glmtts.engine.runtime.threads import WorkerThreads
from glmtts.engine.scheduling.job_handle import JobHandle
from glmtts.engine.scheduling.job_queue import JobQueue
from glmtts.engine.scheduling.length_estimator import LengthEstimator
from glmtts.engine.scheduling.pace import Pace, paced_schedule
from glmtts.engine.scheduling.scheduler import Scheduler
from glmtts.engine.stats import EngineStats, RecordedCounts
from glmtts.models.graphs import CudaGraphRecorder, Recorder
from glmtts.models.llm.history import History, check_history
from glmtts.text.frontend.frontend import Reading, Segment
from glmtts.text.frontend.words import WordSpan
from glmtts.text.language import Language
from glmtts.voice import prompt_features
from glmtts.voice.voice import Voice

log = logging.getLogger(__name__)

FEATURES = ("emotion", "phoneme_control", "kv_cache", "streaming")
CPU_AUDIO_LIMITS = AudioLimits()
GPU_AUDIO_LIMITS = AudioLimits(max_batch_frames=16384, vocoder_frames=1024, max_prompt_tokens=250)
CPU_THREADS, GPU_THREADS = 3, 2
"""A GPU makes a batch of chunks about as fast as one. A CPU core does not, so there two audio workers share them."""
MAX_RETRY_AFTER = 60.0
LEAST_GRAPH_BYTES = 256 * 2**20
"""For CUDA graphs where none are planned: enough for those of the AR model. Part of the plan's temporary results."""


class BatchEngine:
    """See `glmtts.engine.api.Engine`. `model` comes from `glmtts.checkpoint.loader.load`, `plan` from before that.

    make_recorder: of the recorders of steps, by default those of CUDA graphs on a GPU and none elsewhere.

    Raises DeviceMemoryError when the engine does not fit into memory.
    """

    def __init__(
        self,
        model: Model,
        options: EngineOptions = DEFAULT_OPTIONS,
        plan: MemoryPlan | None = None,
        *,
        make_recorder: Callable[[], Recorder] | None = None,
    ) -> None:
        plan = plan or _plan_memory(model, options)
        plan.log(options.max_num_seqs)
        options = replace(options, max_num_seqs=plan.listeners)
        self._model, self._options, self._plan = model, options, plan
        self._frontend = model.frontend
        self.info = _engine_info(model, plan)
        audio_limits = replace(audio_limits_of(options, model.device), voice_cache_bytes=plan.voice_cache_bytes)
        num_threads = options.num_threads or (GPU_THREADS if model.device.type == "cuda" else CPU_THREADS)
        self._queue = JobQueue(options.max_queued)
        self._lengths = LengthEstimator(_initial_tokens_per_id(model))
        self._scheduler = Scheduler(
            self._queue,
            options.max_num_seqs,
            self._history_with_earlier,
            self._lengths,
            generation=_scheduled_generation(model, options),
            chunk_schedule=options.chunk_schedule,
            limits=options.limits,
            vocoder_delay=_vocoder_delay(model),
            audio_workers=max(1, num_threads - 1),
            max_voices=plan.voices if plan.voices < plan.listeners else None,
        )
        if make_recorder is None and model.device.type == "cuda" and options.graph_seconds:
            make_recorder = partial(CudaGraphRecorder, model.device)
        self._loop = EngineLoop(
            model, options, audio_limits, num_threads, self._queue, self._scheduler,
            make_recorder=make_recorder, graph_bytes=max(plan.graph_bytes, LEAST_GRAPH_BYTES),
        )  # fmt: skip
        self._threads = WorkerThreads(
            self._queue, model.device, self._loop.fail_all, self._scheduler.has_runnable, *self._loop.workers()
        )

    def record_steps(self) -> int:
        """Records steps before the first job, within the options' limits; returns how many. Nothing without a GPU."""
        return record_all(
            self._loop.recordings(),
            max_seconds=self._options.graph_seconds,
            max_bytes=self._loop.free_graph_bytes,
            used_bytes=partial(_used_bytes, self._model.device),
        )

    def adapt_chunks(self, pace: Pace) -> None:
        """Fits the sizes of chunks to a measured pace, before the first job. Recorded shapes hold them all."""
        schedule = paced_schedule(self._options.chunk_schedule, pace, _vocoder_delay(self._model))
        log.info("Chunks of %s tokens, at %s", schedule.sizes, pace)
        with self._queue.changed:
            self._scheduler.set_chunk_schedule(schedule)

    def set_replacements(self, words: Mapping[str, str]) -> None:
        self._frontend = self._model.frontend.with_replacements(words)

    def segments(
        self, text: str, *, phoneme: bool | None = None, segmented: bool = False, language: Language | None = None
    ) -> list[Segment]:
        return self.read(text, phoneme=phoneme, segmented=segmented, language=language).segments

    def read(
        self, text: str, *, phoneme: bool | None = None, segmented: bool = False, language: Language | None = None
    ) -> Reading:
        strip_markup = self._options.strip_markup
        return self._frontend.read(
            text, phoneme=phoneme, segmented=segmented, language=language, strip_markup=strip_markup
        )

    def pronunciation(self, text: str) -> list[tuple[str, str]]:
        return self._frontend.pronunciation(text)

    def words(self, segment: Segment) -> tuple[WordSpan, ...]:
        return self._frontend.words(segment)

    def make_voice(self, reference_audio: bytes, reference_text: str, language: Language | None = None) -> Voice:
        return self._model.voice_maker.make_voice(reference_audio, reference_text, language)

    def save_voice(self, voice: Voice) -> bytes:
        return prompt_features.encode(voice, self._reference_ids(voice.reference_text, voice.language))

    def load_voice(
        self, features: bytes, digest: str, reference_text: str, language: Language | None = None
    ) -> Voice | None:
        text, rates = reference_text.strip(), self._model.sample_rates
        return prompt_features.decode(features, digest, text, self._reference_ids(text, language), rates, language)

    def _reference_ids(self, reference_text: str, language: Language | None) -> tuple[int, ...]:
        """As voices are made with them: without the overrides of `set_replacements`."""
        return self._model.frontend.prompt_ids(reference_text, language=language)

    def submit(self, job: Job) -> JobHandle:
        model = self._model
        validate_request(model, job.voice, job.sample_rate, job.seed, job.speed)
        check_history(job.history, vocabulary=model.llm.config.vocab_size, speech_tokens=model.special.speech_tokens)
        voice_only = self._new_history(job)
        for segment in job.segments:  # raises if too long; history gives way, so what fits after the voice alone fits
            voice_only.prompt(segment.ids, segment.weight)
        tokens = sum(self._lengths.expected_tokens(len(segment.ids)) for segment in job.segments)
        drain_seconds = self.backlog_seconds() / (self._loop.throughput.audio_rate or 1.0)
        return self._queue.submit(job, tokens / TOKEN_RATE / job.speed, min(MAX_RETRY_AFTER, max(1.0, drain_seconds)))

    def stalled_seconds(self) -> float:
        return self._threads.stalled_seconds()

    def pace_seconds(self) -> float | None:
        return self._threads.pace_seconds()

    def backlog_seconds(self) -> float:
        with self._queue.changed:
            remaining = {job.handle: self._scheduler.remaining_seconds(job) for job in self._scheduler.jobs}
            return self._queue.backlog_seconds(lambda handle: remaining.get(handle, 0.0))

    def num_waiting(self) -> int:
        return self._queue.num_waiting()

    def num_running(self) -> int:
        return self._queue.num_running()

    def stats(self) -> EngineStats:
        loop, voice_prompts = self._loop, self._loop.audio.voice_prompts
        with self._queue.changed:
            jobs = self._scheduler.jobs
            return EngineStats(
                step_seconds=loop.step_seconds.snapshot(),
                step_rows=loop.step_rows.snapshot(),
                flow_rows=loop.flow_rows.snapshot(),
                slots_used=len(jobs),
                slots_total=self._options.max_num_seqs,
                reserved_bytes=self._plan.total_bytes,
                voice_cache_bytes=voice_prompts.bytes,
                voice_cache_hits=voice_prompts.hits,
                voice_cache_misses=voice_prompts.misses,
                buffered_seconds=self._queue.buffered_seconds() + sum(job.prebuffered_seconds for job in jobs),
                backpressured_jobs=sum(map(self._scheduler.is_backpressured, jobs)),
                realtime_ratio=loop.throughput.audio_rate,
                retries=loop.decode.retries.count + loop.audio.retries.count,
                failures=loop.failures,
                redraws=dict(self._scheduler.redraws),
                recorded_steps={
                    stage: RecordedCounts(len(steps), steps.replays, steps.plain)
                    for stage, steps in loop.recorded_steps().items()
                },
            )

    def close(self, grace: float = 0.0) -> None:
        self._queue.close(grace)
        self._threads.join()

    def _new_history(self, job: Job) -> History:
        """A history with the voice alone."""
        voice, model = job.voice, self._model
        return History(
            voice.prompt_text,
            voice.prompt_tokens.tolist(),
            model.generation,
            enabled=job.use_history,
            max_positions=model.max_positions,
            speaker=model.speaker_ids(job.speaker),
        )

    def _history_with_earlier(self, job: Job) -> History:
        """A history with the voice and the segments that the job continues."""
        history = self._new_history(job)
        for text_ids, speech_tokens in job.history:
            history.add(text_ids, speech_tokens)
        return history


def _vocoder_delay(model: Model) -> float:
    """Seconds of audio that vocoders hold back until a segment's last chunk."""
    return max(vocoder.context_frames for vocoder in model.vocoders.values()) / FRAME_RATE


def _used_bytes(device: torch.device) -> int:
    """Of a GPU, by whomever."""
    if device.type != "cuda":
        return 0
    free, total = torch.cuda.mem_get_info(device)
    return int(total - free)


def audio_limits_of(options: EngineOptions, device: torch.device) -> AudioLimits:
    """The options', or the device's defaults."""
    return options.audio or (GPU_AUDIO_LIMITS if device.type == "cuda" else CPU_AUDIO_LIMITS)


def _plan_memory(model: Model, options: EngineOptions) -> MemoryPlan:
    """For a model that is loaded."""
    device, limits, weights = model.device, audio_limits_of(options, model.device), weight_bytes(model)
    dtypes = model.dtype, model.flow.estimator.matrix_dtype
    needs = MemoryNeeds.of(weights, model.llm.config, model.flow.config, options, limits, device, *dtypes)
    budget_bytes = budget(device, options, loaded_bytes=weights)
    return needs.plan(device, options.max_num_seqs, limits.voice_cache_bytes, budget_bytes)


def _engine_info(model: Model, plan: MemoryPlan) -> EngineInfo:
    return EngineInfo(
        model=model.info.name,
        model_version=model.info.version,
        languages=model.info.languages,
        sample_rates=model.sample_rates,
        features=FEATURES,
        device=str(model.device),
        max_streams=plan.listeners,
        generation=model.generation.stated_limits,
        calibrated=model.generation.calibrated,
        fingerprint=model.info.fingerprint,
        memory=plan.describe(),
    )


def _scheduled_generation(model: Model, options: EngineOptions) -> GenerationConfig:
    """The checkpoint's, by which segments are drawn again; a deterministic engine speaks every first draw."""
    generation = model.generation
    return replace(generation, tokens_per_id=None, max_redraws=0) if options.deterministic else generation


def _initial_tokens_per_id(model: Model) -> float:
    """Speech tokens per text id before any have been observed: the geometric mean of the bounds."""
    least, most = (max(ratio, 0.1) for ratio in (model.generation.min_ratio, model.generation.max_ratio))
    return math.sqrt(least * most)
