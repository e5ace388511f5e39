"""A job that holds a slot, and its segments on their way from ids to audio. The scheduler decides what changes."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from glmtts.dsp.audio import EMPTY_WAVE, Wave, with_silence
from glmtts.engine.api import Job, SegmentTiming
from glmtts.engine.config import ChunkSchedule
from glmtts.engine.scheduling.chunking import Chunk, Chunker
from glmtts.engine.scheduling.job_handle import JobHandle
from glmtts.engine.scheduling.redraws import SegmentDraws
from glmtts.engine.scheduling.word_timing import frames_with_sound, word_timings
from glmtts.models.llm.history import History, Prompt, SpokenSegment
from glmtts.text.frontend.frontend import Segment


@dataclass(eq=False)
class SegmentState:
    """One segment: first its prompt is fed, then its tokens are decoded, and chunk by chunk they become audio."""

    segment: Segment
    prompt: Prompt
    chunker: Chunker
    draws: SegmentDraws
    num_prefilled: int = 0
    """Ids of its prompt that are in the KV cache."""
    silence_seconds: float = 0.0
    """Silence after it besides its own: that of segments right behind it that had no tokens."""
    chunk: Chunk | None = None
    """The chunk that is being made, or the next one if it can be made."""
    alignment: list[int] | None = None
    """For each token the index of its text id, if that is wanted and can be had."""
    certain_ids: int | None = None
    """The alignment is certain for so many ids; None: for all."""
    sound: list[float] = field(default_factory=list)
    """When frames with sound begin, in seconds of the job, if its words need that."""
    history_after: tuple[SpokenSegment, ...] = ()
    """The job's history once this segment has been spoken."""
    audio: Any = None
    """The audio runner's state (`SegmentAudio`, whose module loads torch), used only by the worker that has claimed the
    job."""

    @property
    def tokens(self) -> list[int]:
        """Speech tokens decoded so far."""
        return self.draws.tokens

    @property
    def eos(self) -> bool:
        """Whether these are all."""
        return self.draws.done

    @property
    def prefill_length(self) -> int:
        """Ids to feed before the first decode step: all but the last, which that step feeds itself."""
        return len(self.prompt.text) + len(self.segment.ids) + len(self.prompt.speech)

    @property
    def prefilled(self) -> bool:
        return self.num_prefilled == self.prefill_length

    def current_chunk(self) -> Chunk | None:
        """The chunk to make now, if its tokens exist."""
        self.chunk = self.chunk or self.chunker.next_chunk(self.draws.num_final_tokens, self.eos)
        return self.chunk


@dataclass(eq=False)
class ActiveJob:
    """A job that holds a slot of the KV cache."""

    handle: JobHandle
    slot: int
    history: History
    chunk_schedule: ChunkSchedule
    waiting_since: float
    """When it was admitted, became audible or last got audio; on `time.monotonic`'s clock."""
    pending: deque[Segment]
    """Segments that have not been started."""
    flow_speed: float = 1.0
    """How fast the flow speaks."""
    stretch_factor: float = 1.0
    """How much faster the speech is made behind the vocoder."""
    decoding: SegmentState | None = None
    """The segment whose prompt is fed or whose tokens are decoded."""
    unfinished: deque[SegmentState] = field(default_factory=deque)
    """Started segments that have not wholly become audio; the first of them is the one that is being made audible."""
    audible: bool = False
    """Whether its audio goes to the reader. A streamed job's first audio waits until that can be kept up."""
    first_ready_at: float | None = None
    """When its first chunk could be made."""
    prebuffered: list[Wave] = field(default_factory=list)
    """Audio made before the job became audible."""
    num_samples: int = 0
    """Samples made so far, silence included."""
    segment_start: int = 0
    """How many of them belong to the segments before the one that is being made."""
    claimed: bool = False
    """Whether an audio worker is working on it."""
    voice_prompt: Any = None
    """The audio runner's state (`VoicePrompt`), used only by the worker that has claimed the job."""

    @property
    def spec(self) -> Job:
        """What was submitted."""
        return self.handle.job

    @property
    def prebuffered_seconds(self) -> float:
        return sum(map(len, self.prebuffered)) / self.spec.sample_rate

    @property
    def buffered_seconds(self) -> float:
        """Seconds of audio that its reader has not taken."""
        return self.handle.buffered_seconds + self.prebuffered_seconds

    def current_chunk(self) -> Chunk | None:
        """The chunk to make now, if its tokens exist."""
        return self.unfinished[0].current_chunk() if self.unfinished else None

    def make_audible(self) -> bool:
        """Passes on the audio made so far and all that follows; False when the job has ended."""
        self.audible = self.handle.start()
        for wave in self.prebuffered:
            self.handle.push(wave)
        self.prebuffered.clear()
        return self.audible

    def push(self, wave: Wave) -> None:
        """Gives audio to the reader, or keeps it until the job is audible."""
        if not len(wave):
            return
        self.num_samples += len(wave)
        if self.audible:
            self.handle.push(wave)
        else:
            self.prebuffered.append(wave)

    def push_speech(self, segment: SegmentState, wave: Wave) -> None:
        """Gives audio of a segment to the reader."""
        self._note_sound(segment, wave)
        self.push(wave)

    def _note_sound(self, segment: SegmentState, wave: Wave) -> None:
        if segment.segment.words:
            start = self.num_samples / self.spec.sample_rate
            segment.sound += [start + seconds for seconds in frames_with_sound(wave, self.spec.sample_rate)]

    def finish_segment(self, segment: SegmentState, wave: Wave = EMPTY_WAVE) -> None:
        """Passes on the last audio of a segment with the silence after it, and adds the segment to the report."""
        report = self.handle.report
        report.text_ids += len(segment.segment.ids)
        report.speech_tokens += len(segment.tokens)
        report.segments_done += 1
        # A segment without tokens changes no history, and the audio of those before it may not have been made yet.
        if segment.tokens and not self.handle.ended:
            report.history = segment.history_after
        silence = segment.segment.pause_seconds + segment.silence_seconds
        position = self.unfinished.index(segment)
        del self.unfinished[position]
        if position:  # it had no tokens, and the segment before it is still being made
            self.unfinished[position - 1].silence_seconds += silence
            return
        if segment.tokens:
            self._note_sound(segment, wave)
            report.timings.append(self._timing(segment, self.num_samples + len(wave)))
        self.push(with_silence(wave, silence, self.spec.sample_rate))
        self.segment_start = self.num_samples

    def _timing(self, segment: SegmentState, end: int) -> SegmentTiming:
        """Of the segment that is being made, whose speech ends at sample `end`."""
        spoken, rate = segment.segment, self.spec.sample_rate
        start, stop = self.segment_start / rate, end / rate
        words = word_timings(spoken, segment.alignment, start, stop, segment.sound, segment.certain_ids)
        return SegmentTiming(spoken.index, spoken.text, start, stop, words)


class DecodeTask(NamedTuple):
    """A segment whose prompt is to be fed or whose next token is to be decoded."""

    job: ActiveJob
    segment: SegmentState


class ChunkTask(NamedTuple):
    """A chunk of speech tokens that is to become audio."""

    job: ActiveJob
    segment: SegmentState
    chunk: Chunk
