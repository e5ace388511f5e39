"""What is asked of an engine, and what comes back: the seam between the server and the model.

A Job is one request: an ordered chain of segments in one voice. A Handle is the request thread's end of it:
PCM chunks, then the end or one exception. Knows nothing about tensors, threads, text or HTTP.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from glmtts.dsp.audio import Wave
from glmtts.models.llm.history import SpokenSegment

if TYPE_CHECKING:  # annotations only: the fake engine and the server need no torch
    from glmtts.engine.stats import EngineStats
    from glmtts.text.frontend import Segment
    from glmtts.voice.voice import Voice

FinishReason = Literal["stop", "length", "cancelled", "error"]


@dataclass(frozen=True)
class Job:
    """One request. `sample_rate` is one of the engine's native rates; `deadline` is on `time.monotonic`'s clock.

    `speed` 0.5–2.0 stretches the token-to-frame map. With `history`, later segments are prompted with earlier ones.
    `stream` asks for chunks as early as possible; without it one chunk per segment is enough.
    `earlier`, oldest first, was spoken by another job that this one continues; `segments` then count on from there.
    Voice, seed, rate, speed, a segment's index and what was spoken before decide its samples: a chain of jobs, each
    given its forerunner's `Report.spoken`, sounds as one job.
    """

    segments: tuple[Segment, ...]
    voice: Voice
    sample_rate: int
    seed: int
    speed: float = 1.0
    history: bool = True
    stream: bool = True
    deadline: float | None = None
    earlier: tuple[SpokenSegment, ...] = ()


@dataclass
class Report:
    """What is known about a job; complete once its handle has ended. All times in seconds."""

    finish_reason: FinishReason | None = None
    text_ids: int = 0
    speech_tokens: int = 0
    audio_seconds: float = 0.0
    segments_done: int = 0
    spoken: tuple[SpokenSegment, ...] = ()
    """What a next segment would be prompted with beside the voice: `Job.earlier` of a job that continues this one."""
    first_audio: float | None = None
    """Seconds from submission to the first chunk."""
    underrun: float = 0.0
    """The longest that a listener at real time, who began with the first chunk, would have waited for a later one."""
    stage_seconds: dict[str, float] = field(default_factory=dict)
    """Seconds spent per stage: queue, prefill, decode, flow, vocoder (the server adds text and voice). Of a step that
    several jobs share each has its part."""
    stage_spans: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Per stage its first begin and its last end, on `time.monotonic`'s clock; others may have run in between."""

    def spend(self, stage: str, began: float, ended: float, share: float = 1.0) -> None:
        """Books a share of the time from `began` to `ended` on that clock to a stage."""
        self.stage_seconds[stage] = self.stage_seconds.get(stage, 0.0) + (ended - began) * share
        first, _ = self.stage_spans.get(stage, (began, ended))
        self.stage_spans[stage] = (first, ended)


class Handle(Protocol):
    """The caller's end of a running job. Thread-safe; `cancel` is idempotent and returns at once."""

    report: Report

    def chunks(self) -> Iterator[Wave]:
        """Yields float32 waveforms (samples,) in order; raises the job's one exception; ends after the last.

        QueueFullError never comes from here (submit raises it); QueueTimeoutError, CancelledError, DeviceMemoryError
        and EngineError do.
        """
        ...

    def cancel(self) -> None:
        """Stops the job within one decode step; a reader then gets CancelledError."""
        ...


@dataclass(frozen=True)
class EngineInfo:
    """What was loaded: the one source of /info and of the Consul metadata. Rates in Hz, limits in their units."""

    model: str
    model_version: str
    languages: tuple[str, ...]
    sample_rates: tuple[int, ...]
    features: tuple[str, ...]
    device: str
    max_streams: int


class Engine(Protocol):
    """Many utterances on one device. Created loaded; `close` ends its threads."""

    info: EngineInfo

    def segments(self, text: str, *, phoneme: bool | None = None, segmented: bool = False) -> list[Segment]:
        """Text to segments as they will be spoken; TextError when nothing speakable is left.

        `segmented`: the text is that of one such segment, and is spoken as it is.
        """
        ...

    def set_replacements(self, words: Mapping[str, str]) -> None:
        """From now on `words`, in phoneme mode, are pronounced so, before those that the engine was loaded with.

        They take the place of those set earlier; InputError when one cannot be spoken, and then all stays as it was.
        """
        ...

    def make_voice(self, recording: bytes, transcript: str) -> Voice:
        """An encoded recording (any format soundfile reads) to what conditions the model; AudioError if unfit."""
        ...

    def submit(self, job: Job) -> Handle:
        """Puts the job in line; QueueFullError when the line is full, EngineError once closed.

        InputError (field "continuation") when `job.earlier` has ids that the model has not.
        """
        ...

    def progress_age(self) -> float:
        """Seconds since the engine last made progress; 0.0 while idle and able to run."""
        ...

    def owed_seconds(self) -> float:
        """Seconds of audio that waiting and running jobs still owe (estimated from their text)."""
        ...

    def waiting(self) -> int:
        """Jobs in line, not counting running ones."""
        ...

    def running(self) -> int:
        """Jobs that have been taken up and have not ended."""
        ...

    def stats(self) -> EngineStats:
        """How it stands, for instruments; cheap."""
        ...

    def close(self, grace: float = 0.0) -> None:
        """Refuses new jobs, lets running ones finish for `grace` seconds, cancels the rest, joins the threads."""
        ...
