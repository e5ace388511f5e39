"""The engine: many jobs at once on one device, drawn together and sounding while they are being drawn.

This is what a caller has of it: asking, counting, closing. Who is served when decides the scheduler, what is computed
the steps of its threads. Knows nothing about HTTP.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from glmtts.checkpoint.loader import Model
from glmtts.dsp.audio import FRAME_RATE, TOKEN_RATE
from glmtts.engine.api import EngineInfo, Job
from glmtts.engine.config import DEFAULT_OPTIONS, AudioLimits, EngineOptions
from glmtts.engine.runtime.loop import Steps
from glmtts.engine.runtime.memory_budget import reserve
from glmtts.engine.runtime.offline import validate_request
from glmtts.engine.runtime.threads import Loops
from glmtts.engine.scheduling.job_handle import JobHandle
from glmtts.engine.scheduling.job_queue import Line
from glmtts.engine.scheduling.priority import Expectation
from glmtts.engine.scheduling.scheduler import Scheduler
from glmtts.engine.stats import EngineStats
from glmtts.models.llm.history import History, check_history
from glmtts.text.frontend import Segment
from glmtts.voice.voice import Voice

FEATURES = ("emotion", "phoneme_control", "kv_cache", "streaming")
CPU_AUDIO_LIMITS = AudioLimits()
GPU_AUDIO_LIMITS = AudioLimits(max_batch_frames=16384, vocoder_frames=1024, max_prompt_tokens=250)
CPU_THREADS, GPU_THREADS = 3, 2
"""A GPU makes a batch of blocks about as fast as one, a core does not: there, two makers of sound share them out."""


class BatchEngine:
    """`model` comes from `glmtts.checkpoint.loader.load`. DeviceMemoryError when the slots do not fit."""

    def __init__(self, model: Model, options: EngineOptions = DEFAULT_OPTIONS) -> None:
        self._model, self._options = model, options
        self._frontend = model.frontend
        info, gpu = model.info, model.device.type == "cuda"
        self.info = EngineInfo(
            model=info.name,
            model_version=info.version,
            languages=info.languages,
            sample_rates=model.sample_rates,
            features=FEATURES,
            device=str(model.device),
            max_streams=options.max_num_seqs,
            generation=model.generation.stated_limits,
        )
        sound = options.audio or (GPU_AUDIO_LIMITS if gpu else CPU_AUDIO_LIMITS)
        threads = options.num_threads or (GPU_THREADS if gpu else CPU_THREADS)
        self._reserved = reserve(model, options, sound)
        self._line = Line(options.max_queued)
        self._expectation = Expectation(_first_guess(model))
        self._scheduler = Scheduler(
            self._line,
            options.max_num_seqs,
            self._chain,
            self._expectation,
            ladder=options.chunk_schedule,
            limits=options.limits,
            behind=max(vocoder.context_frames for vocoder in model.vocoders.values()) / FRAME_RATE,
            makers=max(1, threads - 1),
        )
        self._steps = Steps(model, options, sound, self._line, self._scheduler, threads)
        self._loop = Loops(self._line, model.device, self._steps.fail_all, self._scheduler.waits, *self._steps.loops())

    # What a caller asks for: see `glmtts.engine.api.Engine`.

    def set_replacements(self, words: Mapping[str, str]) -> None:
        self._frontend = self._model.frontend.replacing(words)

    def segments(self, text: str, *, phoneme: bool | None = None, segmented: bool = False) -> list[Segment]:
        return self._frontend.segments(text, phoneme=phoneme, segmented=segmented)

    def make_voice(self, reference_audio: bytes, reference_text: str) -> Voice:
        return self._model.voice_maker.make_voice(reference_audio, reference_text)

    def submit(self, job: Job) -> JobHandle:
        model = self._model
        validate_request(model, job.voice, job.sample_rate, job.seed, job.speed)
        check_history(job.history, vocabulary=model.llm.config.vocab_size, speech_tokens=model.special.speech_tokens)
        alone = self._history(job)
        for segment in job.segments:  # what fits after the voice alone fits with the history that is left to it
            alone.prompt(segment.ids)
        tokens = sum(self._expectation.tokens(len(segment.ids)) for segment in job.segments)
        retry_after = min(60.0, max(1.0, self.backlog_seconds() / (self._steps.pace.audio_rate or 1.0)))
        return self._line.submit(job, tokens / TOKEN_RATE / job.speed, retry_after)

    def stalled_seconds(self) -> float:
        return self._loop.age()

    def backlog_seconds(self) -> float:
        with self._line.changed:
            left = {stream.handle: self._scheduler.left(stream) for stream in self._scheduler.streams}
            return self._line.owed(lambda handle: left.get(handle, 0.0))

    def num_waiting(self) -> int:
        return self._line.waiting()

    def num_running(self) -> int:
        return self._line.running()

    def stats(self) -> EngineStats:
        steps, memories = self._steps, self._steps.sound.memories
        with self._line.changed:
            streams = self._scheduler.streams
            return EngineStats(
                step_seconds=steps.seconds.snapshot(),
                step_rows=steps.rows.snapshot(),
                flow_rows=steps.flow_rows.snapshot(),
                slots_used=len(streams),
                slots_total=self._options.max_num_seqs,
                reserved_bytes=self._reserved,
                voice_cache_bytes=memories.bytes,
                voice_cache_hits=memories.hits,
                voice_cache_misses=memories.misses,
                buffered_seconds=self._line.unsent() + sum(stream.lead for stream in streams),
                backpressured_jobs=sum(map(self._scheduler.held, streams)),
                realtime_ratio=steps.pace.audio_rate,
                retries=steps.drawing.retries.count + steps.sound.retries.count,
                failures=steps.failures,
            )

    def close(self, grace: float = 0.0) -> None:
        self._line.close(grace)
        self._loop.join()

    def _history(self, job: Job) -> History:
        prompt = job.voice.prompt_tokens.tolist()
        model = self._model
        return History(
            job.voice.prompt_text, prompt, model.generation, enabled=job.use_history, max_positions=model.max_positions
        )

    def _chain(self, job: Job) -> History:
        """Of the voice and of what an earlier job has said."""
        chain = self._history(job)
        for text, speech in job.history:
            chain.add(text, speech)
        return chain


def _first_guess(model: Model) -> float:
    """Speech tokens a text id, before anything has been learnt: between the least and the most that it may be."""
    least, most = (max(ratio, 0.1) for ratio in (model.generation.min_ratio, model.generation.max_ratio))
    return math.sqrt(least * most)
