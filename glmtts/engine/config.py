"""How to run an engine: batch sizes, limits and number of threads. Importing this module does not load torch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from glmtts.config import StageFormats


@dataclass(frozen=True)
class ChunkSchedule:
    """How a segment's speech tokens are split into chunks of audio. All lengths are in speech tokens, 25 a second."""

    sizes: tuple[int, ...] = (20, 25, 50, 100)
    """Sizes of a segment's chunks in order; the last one repeats. The first is small, as the listener waits for it.
    Each chunk must take less time to make than the one before takes to play, which bounds how fast sizes may grow."""
    lookahead: int = 5
    """Tokens after a chunk that it is made with, so that its end leads into the next chunk. At least one: a chunk must
    know whether it is the last."""
    left_context: int = 25
    """Tokens before a chunk that it is prompted with, so that it continues them."""

    def __post_init__(self) -> None:
        if not self.sizes or min(self.sizes) < 1 or self.lookahead < 1 or self.left_context < 0:
            raise ValueError(f"chunk schedule: expected sizes and lookahead ≥ 1 and left_context ≥ 0, got {self}")

    def scaled(self, speed: float, flow_speed: float) -> ChunkSchedule:
        """The schedule whose chunks and left context last as long when speech is `speed` times as fast.

        The left context is one of the flow, which speaks at `flow_speed`.
        """
        sizes = tuple(max(1, round(size * speed)) for size in self.sizes)
        return replace(self, sizes=sizes, left_context=round(self.left_context * flow_speed))


@dataclass(frozen=True)
class SchedulerLimits:
    """What one job may take of the engine."""

    prefill_chunk: int = 128
    """Ids of a prompt that are fed between two decode steps."""
    max_buffered_seconds: float = 30.0
    """Seconds of audio that a reader may leave unread before the job pauses."""
    reader_timeout: float = 30.0
    """Seconds after which the job of a reader that reads nothing is cancelled."""


@dataclass(frozen=True)
class AudioLimits:
    """Batch sizes of the flow and the vocoder, and the memory that they may keep."""

    max_batch_frames: int = 400
    """Mel frames of one flow batch, padding included. A single chunk may have more."""
    vocoder_frames: int = 400
    """Mel frames that one vocoder window renders at most."""
    max_prompt_tokens: int | None = 125
    """Tokens of the voice's prompt that a streamed chunk is prompted with; None for all."""
    voice_cache_bytes: int = 512 * 2**20
    """Bytes of prefilled voice prompts that are kept for later jobs, at least: see `memory_plan.CACHED_VOICES`."""


@dataclass(frozen=True)
class EngineOptions:
    """Options of an engine. None means the device's default."""

    max_num_seqs: int = 16
    """Jobs that run at once; each holds a slot of the KV cache."""
    max_queued: int = 64
    """Jobs that may wait for a slot."""
    max_memory_bytes: int | None = None
    """Of the device, that the engine may take; None for what is free. Fewer jobs run at once where it is not enough."""
    num_threads: int | None = None
    """One thread does everything in turn. Of more, one runs decode steps and each of the others makes audio."""
    deterministic: bool = False
    """Makes a job's tokens independent of the other rows of its batch (fixed shapes, float32), at a cost in speed, and
    draws no segment again."""
    strip_markup: bool = True
    """Whether Markdown and HTML in a text are left out rather than read."""
    formats: StageFormats = field(default_factory=StageFormats)
    """The stages' number formats; `deterministic` is float32 whatever these are."""
    chunk_schedule: ChunkSchedule = field(default_factory=ChunkSchedule)
    """On a GPU, `load_engine` may fit its sizes to the pace: see `pace.paced_schedule`."""
    limits: SchedulerLimits = field(default_factory=SchedulerLimits)
    audio: AudioLimits | None = None
    graph_seconds: float = 30.0
    """Seconds for recording steps as CUDA graphs before the first job; 0 records none."""
    graph_memory: float = 0.15
    """Share of the memory that the engine may take, for what CUDA graphs read, write and keep."""

    def __post_init__(self) -> None:
        if self.max_num_seqs < 1 or self.max_queued < 0 or (self.num_threads is not None and self.num_threads < 1):
            raise ValueError(f"engine options: expected max_num_seqs ≥ 1, max_queued ≥ 0, num_threads ≥ 1, got {self}")
        if self.graph_seconds < 0 or not 0 <= self.graph_memory < 1:
            raise ValueError(f"engine options: expected graph_seconds ≥ 0 and 0 ≤ graph_memory < 1, got {self}")


DEFAULT_OPTIONS = EngineOptions()
