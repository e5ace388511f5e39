"""The interface between the server and a model: what an engine takes, and what it returns.

A Job is one request: an ordered chain of segments in one voice. A Handle is the request thread's end of it: it yields
PCM chunks, then ends or raises one exception. Importing this module does not load torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

from glmtts.dsp.audio import Wave
from glmtts.models.llm.history import SpokenSegment

if TYPE_CHECKING:
    from glmtts.engine.stats import EngineStats
    from glmtts.text.frontend.frontend import Reading, Segment
    from glmtts.text.frontend.words import WordSpan
    from glmtts.text.language import Language
    from glmtts.voice.voice import Voice  # loads torch, which the fake engine and the server do without

MIN_SPEED, MAX_SPEED = 0.25, 4.0

FinishReason = Literal["stop", "implausible", "length", "cancelled", "error"]
"""`length`: a segment was cut at its maximum length. `implausible`: one is much shorter or longer than its text
suggests."""


@dataclass(frozen=True)
class Job:
    """One request.

    A segment's samples depend only on the voice, seed, rate, speed, its index and the history before it. So a chain of
    jobs, each given the `Report.history` of the one before, sounds exactly like one job.
    """

    segments: tuple[Segment, ...]
    voice: Voice
    sample_rate: int
    """In Hz; one of the engine's native rates."""
    seed: int
    """0 … 2⁶³ − 1."""
    speed: float = 1.0
    """MIN_SPEED (a quarter as fast) to MAX_SPEED."""
    use_history: bool = True
    """Whether earlier segments prompt later ones."""
    stream: bool = True
    """Whether to return chunks as early as possible; otherwise each segment is one chunk."""
    deadline: float | None = None
    """When a job that is still queued fails with QueueTimeoutError, on `time.monotonic`'s clock."""
    speaker: str = ""
    """The stored voice's name, by which a fine-tuned model may know the speaker."""
    history: tuple[SpokenSegment, ...] = ()
    """Segments of the job that this one continues, oldest first. The indices of `segments` go on from there."""


@dataclass(frozen=True)
class WordTiming:
    """Where a word, or a Chinese character, is in a job's audio. `estimated`: spread within its segment."""

    text: str
    start_seconds: float
    end_seconds: float
    estimated: bool

    def later(self, seconds: float) -> WordTiming:
        """The same behind `seconds` of other audio."""
        return replace(self, start_seconds=self.start_seconds + seconds, end_seconds=self.end_seconds + seconds)


@dataclass(frozen=True)
class SegmentTiming:
    """Where a segment is in a job's audio: seconds from its first sample. Silence after it lies behind its end."""

    index: int
    text: str
    start_seconds: float
    end_seconds: float
    words: tuple[WordTiming, ...] = ()
    """Of `Segment.words`."""

    def later(self, seconds: float) -> SegmentTiming:
        """The same behind `seconds` of other audio."""
        start, end = self.start_seconds + seconds, self.end_seconds + seconds
        return replace(self, start_seconds=start, end_seconds=end, words=tuple(w.later(seconds) for w in self.words))


@dataclass
class Report:
    """Facts about a job; complete once its handle has ended."""

    finish_reason: FinishReason | None = None
    text_ids: int = 0
    speech_tokens: int = 0
    audio_seconds: float = 0.0
    segments_done: int = 0
    timings: list[SegmentTiming] = field(default_factory=list)
    """Of the segments with speech whose audio is complete, in order."""
    redraws: int = 0
    """How often speech tokens were drawn again because a segment's length was implausible."""
    history: tuple[SpokenSegment, ...] = ()
    """The `Job.history` of a job that continues this one."""
    first_audio_seconds: float | None = None
    """Seconds from submission to the first chunk."""
    stage_seconds: dict[str, float] = field(default_factory=dict)
    """Seconds spent per stage: queue, prefill, decode, flow, vocoder (the server adds text and voice). A step that
    several jobs share is divided among them."""
    stage_spans: dict[str, tuple[float, float]] = field(default_factory=dict)
    """First start and last end of each stage, on `time.monotonic`'s clock. Stages overlap."""

    def add_time(self, stage: str, start: float, end: float, share: float = 1.0) -> None:
        """Adds a share of the time from `start` to `end`, on `time.monotonic`'s clock, to a stage."""
        self.stage_seconds[stage] = self.stage_seconds.get(stage, 0.0) + (end - start) * share
        first, _ = self.stage_spans.get(stage, (start, end))
        self.stage_spans[stage] = (first, end)


class Handle(Protocol):
    """The client's end of a submitted job. Thread-safe; `cancel` is idempotent and returns at once."""

    report: Report

    def chunks(self) -> Iterator[Wave]:
        """Yields float32 waveforms (samples,) in order.

        Raises QueueTimeoutError, CancelledError, DeviceMemoryError or EngineError when the job failed.
        """
        ...

    def cancel(self) -> None:
        """Stops the job within one decode step; a reader then gets CancelledError."""
        ...


@dataclass(frozen=True)
class EngineInfo:
    """The loaded model, as /info and the Consul metadata show it. Rates in Hz."""

    model: str
    model_version: str
    languages: tuple[str, ...]
    sample_rates: tuple[int, ...]
    features: tuple[str, ...]
    device: str
    max_streams: int
    generation: Mapping[str, Any] = field(default_factory=dict)
    """What the checkpoint says that it was trained for: see `GenerationConfig.stated_limits`."""
    calibrated: bool = False
    """Whether it states which prompts are dropped and which lengths are implausible: `GenerationConfig.calibrated`."""
    fingerprint: str = ""
    """Of the checkpoint's files, in hexadecimal digits: whose `save_voice` an engine can load."""
    memory: Mapping[str, Any] = field(default_factory=dict)
    """What the engine takes of its device's memory, and how many listeners that allows: see `MemoryPlan.describe`."""


class Engine(Protocol):
    """Runs many jobs at once on one device. It is loaded when created; `close` ends its threads."""

    info: EngineInfo

    def segments(
        self, text: str, *, phoneme: bool | None = None, segmented: bool = False, language: Language | None = None
    ) -> list[Segment]:
        """The segments of a text, see `read`."""
        ...

    def read(
        self, text: str, *, phoneme: bool | None = None, segmented: bool = False, language: Language | None = None
    ) -> Reading:
        """Splits and normalises text into segments as they will be spoken; characters of other languages are left out.

        Args:
            phoneme: phoneme mode; None is the checkpoint's default.
            segmented: `text` is one segment from an earlier call, and is spoken as it is.
            language: says how numbers and signs are read; None leaves it to the text's characters.

        Raises TextError when nothing speakable is left, LanguageError when all there was is in another language.
        """
        ...

    def pronunciation(self, text: str) -> list[tuple[str, str]]:
        """The characters and words of a segment's text, each with what will be said: pinyin, ARPAbet or phonemes."""
        ...

    def words(self, segment: Segment) -> tuple[WordSpan, ...]:
        """The words and Chinese characters of a segment. Put into `Segment.words`, they get a timing."""
        ...

    def set_replacements(self, words: Mapping[str, str]) -> None:
        """Sets how `words` are pronounced in phoneme mode, in place of the last call's.

        They take precedence over those that the engine was loaded with. Raises InputError, and changes nothing, when
        one of them cannot be spoken.
        """
        ...

    def make_voice(self, reference_audio: bytes, reference_text: str, language: Language | None = None) -> Voice:
        """Makes a voice from encoded audio (any format soundfile reads) and its text; AudioError if it is unusable.

        `language` as in `segments`, for the text.
        """
        ...

    def save_voice(self, voice: Voice) -> bytes:
        """What the voice is made of, for `load_voice` of an engine with the same `EngineInfo.fingerprint`."""
        ...

    def load_voice(
        self, features: bytes, digest: str, reference_text: str, language: Language | None = None
    ) -> Voice | None:
        """The saved voice of that `voice_digest`. None if it has to be made: the features are damaged or outdated."""
        ...

    def submit(self, job: Job) -> Handle:
        """Queues the job.

        Raises QueueFullError when the queue is full, EngineError after `close`, and InputError (field "continuation")
        when `job.history` has ids outside the model's vocabulary.
        """
        ...

    def stalled_seconds(self) -> float:
        """Seconds since the engine last made progress; 0.0 while it has nothing to do."""
        ...

    def pace_seconds(self) -> float | None:
        """The longest step of the last minutes of work: how long progress may take here. None: not known yet."""
        ...

    def backlog_seconds(self) -> float:
        """Seconds of audio still to be made for queued and running jobs, estimated from their text."""
        ...

    def num_waiting(self) -> int:
        """Queued jobs, without running ones."""
        ...

    def num_running(self) -> int:
        """Jobs that have left the queue and have not ended."""
        ...

    def stats(self) -> EngineStats:
        """A snapshot for metrics; cheap."""
        ...

    def close(self, grace: float = 0.0) -> None:
        """Refuses new jobs, lets running ones finish for `grace` seconds, cancels the rest, joins the threads."""
        ...
