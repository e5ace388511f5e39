"""Which jobs have a slot, and what each step of drawing and of making sound is for: policy and book-keeping only.

A job has its slot until it ends. Its segments are a chain: one is drawn after the other, each prompted with what was
said before, and they sound in that order, block by block. Everything here happens under the line's lock, which its
caller holds, and nothing here takes long. Knows nothing about tensors, models, threads or HTTP.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from glmtts.audio import TOKEN_RATE, Wave
from glmtts.engine.chunker import WHOLE, Block, Chunker, Ladder
from glmtts.engine.deadlines import Expectation, Standing, deadline, may_begin
from glmtts.engine.handle import JobHandle
from glmtts.engine.job import Job
from glmtts.engine.line import Line
from glmtts.errors import GlmTtsError
from glmtts.history import History, Prompt, Spoken
from glmtts.text.frontend import Segment

TOKENS_FIRST = 0.2
"""A block's tokens are due so long before its sound."""


@dataclass(frozen=True)
class Limits:
    """prefill: ids that are fed between two decode steps. unsent: seconds of sound a reader may leave untaken before
    nothing more is made for him; after `patience` seconds in which he takes nothing, he is cut."""

    prefill: int = 128
    unsent: float = 30.0
    patience: float = 30.0


@dataclass(eq=False)
class Utterance:
    """One segment on its way from ids to sound."""

    segment: Segment
    prompt: Prompt
    chunker: Chunker
    fed: int = 0
    """Ids of its prompt that are in the slot."""
    tokens: list[int] = field(default_factory=list)
    over: bool = False
    """Whether all its tokens have been drawn."""
    block: Block | None = None
    """What is to be made sound of next."""
    sounded: int = 0
    """Tokens that have become sound."""
    after: tuple[Spoken, ...] = ()
    """What is remembered once it has been said."""

    @property
    def prefill(self) -> int:
        """Ids that must be fed before the first step: all but the last, which the step itself feeds."""
        return len(self.prompt.text) + len(self.segment.ids) + len(self.prompt.speech)

    def look(self) -> Block | None:
        """The block that is to be made now, if there is one."""
        self.block = self.block or self.chunker.due(len(self.tokens), self.over)
        return self.block


@dataclass(eq=False)
class Stream:
    """A job that has a slot."""

    handle: JobHandle
    slot: int
    history: History
    ladder: Ladder
    since: float
    """When it was taken up, or its last sound was made."""
    todo: deque[Segment]
    drawn: Utterance | None = None
    """The segment whose tokens are being drawn."""
    spoken: deque[Utterance] = field(default_factory=deque)
    """Segments that have not wholly become sound, the one that sounds first."""
    speaking: bool = False
    """Whether it may sound."""
    due: float | None = None
    """When its first block became due."""

    @property
    def job(self) -> Job:
        return self.handle.job


class Scheduler:
    """The slots. `history` starts a job's chain."""

    def __init__(
        self,
        line: Line,
        slots: int,
        history: Callable[[Job], History],
        expectation: Expectation,
        *,
        ladder: Ladder,
        limits: Limits,
    ) -> None:
        self._line, self._history, self._expectation = line, history, expectation
        self._ladder, self._limits = ladder, limits
        self._free = list(range(slots))[::-1]
        self._streams: dict[int, Stream] = {}
        self._prefills: deque[Stream] = deque()
        self.freed: list[int] = []
        """Slots whose rows must be stopped before the next step; whoever steps empties it."""

    @property
    def streams(self) -> list[Stream]:
        return list(self._streams.values())

    # Coming and going

    def sweep(self, now: float) -> None:
        """Lets go what its callers have ended, cuts those who do not read, goes on where one reads again."""
        for stream in self.streams:
            if self.held(stream) and stream.handle.unread(now) > self._limits.patience:
                stream.handle.cut()
            if stream.handle.ended:
                self._drop(stream)
            elif stream.drawn is None:
                self._open(stream)

    def admit(self, now: float) -> None:
        """Gives free slots to those who wait longest."""
        while self._free and (handle := self._line.take()) is not None:
            job = handle.job
            ladder = self._ladder.at(job.speed) if job.stream else WHOLE
            slot = self._free.pop()
            stream = Stream(handle, slot, self._history(job), ladder, now, deque(job.segments))
            self._streams[slot] = stream
            handle.report.spend("queue", handle.submitted, now)
            if not job.stream:
                self._begin(stream)
            self._open(stream)

    def fail(self, stream: Stream, error: Exception) -> None:
        """Ends a job with `error`."""
        stream.handle.end(error)
        self._drop(stream)

    def held(self, stream: Stream) -> bool:
        """Whether nothing more is made for now, because the reader has not taken what there is."""
        return stream.handle.unsent > self._limits.unsent

    def _drop(self, stream: Stream) -> None:
        if self._streams.get(stream.slot) is not stream:
            return
        del self._streams[stream.slot]
        if stream in self._prefills:
            self._prefills.remove(stream)
        self._free.append(stream.slot)
        self._free.sort(reverse=True)  # the lowest first: rows are stepped up to the highest slot in use
        self.freed.append(stream.slot)
        self._line.leave(stream.handle)

    def _begin(self, stream: Stream) -> bool:
        stream.speaking = stream.handle.start()
        return stream.speaking

    # Drawing

    def _open(self, stream: Stream) -> None:
        """Puts the next segment up for prefill, unless the reader is too far behind; ends the job after its last."""
        if not stream.todo and not stream.spoken:
            stream.handle.end()
            self._drop(stream)
        if not stream.todo or self.held(stream):
            return
        segment = stream.todo.popleft()
        try:
            prompt = stream.history.prompt(segment.ids)
        except GlmTtsError as error:
            self.fail(stream, error)
            return
        stream.drawn = Utterance(segment, prompt, Chunker(stream.ladder))
        stream.spoken.append(stream.drawn)
        self._prefills.append(stream)

    def next_prefill(self) -> tuple[Stream, Utterance] | None:
        """Whose prompt is to be fed, from `fed` on and at most `limits.prefill` ids of it."""
        if not self._prefills:
            return None
        stream = self._prefills[0]
        assert stream.drawn is not None
        return stream, stream.drawn

    def prefilled(self, stream: Stream, utterance: Utterance) -> None:
        """That has been done."""
        utterance.fed = min(utterance.fed + self._limits.prefill, utterance.prefill)
        if utterance.fed == utterance.prefill and stream in self._prefills:
            self._prefills.remove(stream)

    def rows(self) -> dict[int, tuple[Stream, Utterance]]:
        """By slot, what draws at the next step."""
        return {
            slot: (stream, stream.drawn)
            for slot, stream in self._streams.items()
            if stream.drawn is not None and stream.drawn.fed == stream.drawn.prefill
        }

    def drew(self, stream: Stream, utterance: Utterance, token: int | None) -> None:
        """A row drew a token, or its end (None). What comes late, after the job or the row has ended, is ignored."""
        if utterance.over or self._streams.get(stream.slot) is not stream:
            return
        if token is not None:
            utterance.tokens.append(token)
            if len(utterance.tokens) < utterance.prompt.bounds.maximum:
                return
            stream.handle.cut_short = True
        utterance.over = True
        ids, tokens = utterance.segment.ids, utterance.tokens
        stream.history.add(ids, tokens)
        utterance.after = stream.history.spoken
        self._expectation.learn(len(ids), len(tokens) / TOKEN_RATE)
        stream.drawn = None
        if not tokens:
            self._finish(stream, utterance)
        self._open(stream)

    # Sounding

    def sounding(self, now: float, pace: float | None) -> list[tuple[Stream, Utterance, Block]]:
        """The blocks that may be made now, the most urgent first: one of each job. Lets listeners begin."""
        due = []
        for stream in self.streams:
            block = stream.spoken[0].look() if stream.spoken else None
            if block is not None and not stream.handle.ended and not self.held(stream):
                stream.due = stream.due or now
                due.append((stream, stream.spoken[0], block))
        due.sort(key=lambda item: deadline(self.standing(item[0]), now))
        for stream, *_ in due:
            if stream.speaking:
                continue
            speaking = [self.standing(other) for other in self.streams if other.speaking and other.job.stream]
            if not may_begin(self.standing(stream), speaking, pace, now):
                break  # nor may anybody who came later
            if self._begin(stream) and stream.due is not None:
                stream.handle.report.spend("queue", stream.due, now)
        return [item for item in due if item[0].speaking]

    def made(self, stream: Stream, utterance: Utterance, wave: Wave, now: float, *, whole: bool) -> None:
        """More sound of the job's first block; `whole`: with this the block has been made."""
        block = utterance.block
        if self._streams.get(stream.slot) is not stream or block is None:
            return
        stream.since = now
        if whole:
            utterance.block, utterance.sounded = None, block.end
        if over := whole and block.last:
            self._finish(stream, utterance)
        if len(wave):
            stream.handle.put(wave)
        if over and stream.drawn is None:
            self._open(stream)

    def _finish(self, stream: Stream, utterance: Utterance) -> None:
        """The segment has been said; its last sound, if it has any, is not yet with the reader."""
        report = stream.handle.report
        report.text_ids += len(utterance.segment.ids)
        report.speech_tokens += len(utterance.tokens)
        report.segments_done += 1
        report.spoken = utterance.after
        stream.spoken.remove(utterance)

    # Looking ahead

    def standing(self, stream: Stream) -> Standing:
        return Standing(stream.job.stream, stream.since, stream.handle.dry_at, self.left(stream))

    def left(self, stream: Stream) -> float:
        """Seconds of sound that the job is still to become."""
        speed = stream.job.speed
        drawn = sum(len(utterance.tokens) - utterance.sounded for utterance in stream.spoken)
        seconds = drawn / TOKEN_RATE / speed
        seconds += sum(self._expectation.seconds(len(segment.ids), speed) for segment in stream.todo)
        if stream.drawn is not None:
            expected = self._expectation.seconds(len(stream.drawn.segment.ids), speed)
            seconds += max(0.0, expected - len(stream.drawn.tokens) / TOKEN_RATE / speed)
        return seconds

    def turn(self, now: float, sounding: list[tuple[Stream, Utterance, Block]]) -> Literal["draw", "sound"] | None:
        """What one thread that does both should do next: tokens for a listener without a block, or the first block."""
        drawing = [stream for stream in self.streams if stream.drawn is not None]
        if not sounding or not drawing:
            return "sound" if sounding else "draw" if drawing else None
        starved = [stream for stream in drawing if stream.spoken[0].block is None and not self.held(stream)]
        hungriest = min((deadline(self.standing(stream), now) for stream in starved), default=float("inf"))
        return "draw" if hungriest - TOKENS_FIRST < deadline(self.standing(sounding[0][0]), now) else "sound"
