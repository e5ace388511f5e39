"""Which jobs have a slot, and what each step of drawing and of making sound is for: policy and book-keeping only.

A job has its slot until it ends. Its segments are a chain: one is drawn after the other, each prompted with what was
said before, and they sound in that order, block by block. Everything here happens under the line's lock, which its
caller holds, and nothing here takes long. Knows nothing about tensors, models, threads or HTTP.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain
from typing import Literal

from glmtts.dsp.audio import TOKEN_RATE, Wave
from glmtts.engine.api import Job
from glmtts.engine.config import ChunkSchedule, SchedulerLimits
from glmtts.engine.scheduling.active_job import Stream, Utterance
from glmtts.engine.scheduling.chunking import WHOLE_SEGMENT, Chunk, Chunker
from glmtts.engine.scheduling.job_queue import Line
from glmtts.engine.scheduling.priority import Expectation, Piece, Standing, may_begin, urgency, work
from glmtts.errors import GlmTtsError
from glmtts.models.llm.history import History

TOKENS_FIRST = 0.2
"""A block's tokens are due so long before its sound."""


class Scheduler:
    """The slots. `history` starts a job's chain. `behind`: seconds by which sound stays behind the blocks made.
    `makers`: of sound, each at work on another job's block."""

    def __init__(
        self,
        line: Line,
        slots: int,
        history: Callable[[Job], History],
        expectation: Expectation,
        *,
        ladder: ChunkSchedule,
        limits: SchedulerLimits,
        behind: float = 0.0,
        makers: int = 1,
    ) -> None:
        self._line, self._history, self._expectation = line, history, expectation
        self._ladder, self._limits, self._behind, self._makers = ladder, limits, behind, makers
        self._free = list(range(slots))[::-1]
        self._streams: dict[int, Stream] = {}
        self._prefills: deque[Stream] = deque()
        self._whole_turn = -math.inf
        self.freed: list[int] = []
        """Slots whose rows must be stopped before the next step; whoever steps empties it."""

    @property
    def streams(self) -> list[Stream]:
        return list(self._streams.values())

    # Coming and going

    def sweep(self, now: float) -> None:
        """Lets go what its callers have ended, cuts those who do not read, goes on where one reads again."""
        for stream in self.streams:
            if self.held(stream) and stream.handle.unread(now) > self._limits.reader_timeout:
                stream.handle.cut()
            if stream.handle.ended:
                self._drop(stream)
            elif stream.drawn is None:
                self._open(stream)

    def admit(self, now: float) -> None:
        """Gives free slots to those who wait longest."""
        while self._free and (handle := self._line.take()) is not None:
            job = handle.job
            ladder = self._ladder.scaled(job.speed) if job.stream else WHOLE_SEGMENT
            slot = self._free.pop()
            stream = Stream(handle, slot, self._history(job), ladder, now, deque(job.segments))
            self._streams[slot] = stream
            handle.report.add_time("queue", handle.submitted, now)
            if not job.stream:
                self._begin(stream)
            self._open(stream)

    def fail(self, stream: Stream, error: Exception) -> None:
        """Ends a job with `error`."""
        stream.handle.end(error)
        self._drop(stream)

    def held(self, stream: Stream) -> bool:
        """Whether nothing more is made for now, because the reader has not taken what there is."""
        return stream.handle.unsent + stream.lead > self._limits.max_buffered_seconds

    def waits(self) -> bool:
        """Whether a job could go on, or begin: one that does not wait for its reader."""
        with self._line.changed:
            if self._free and self._line.waiting():
                return True
            return any(not stream.handle.ended and not self.held(stream) for stream in self.streams)

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
        for wave in stream.kept:
            stream.handle.put(wave)
        stream.kept.clear()
        return stream.speaking

    # Drawing

    def _open(self, stream: Stream) -> None:
        """Puts the next segment up for prefill, unless the reader is too far behind; ends the job after its last."""
        if not stream.todo and not stream.spoken:
            if not stream.speaking:
                self._begin(stream)
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
        """Whose prompt is to be fed, from `fed` on and at most `limits.prefill_chunk` ids of it."""
        if not self._prefills:
            return None
        stream = self._prefills[0]
        assert stream.drawn is not None
        return stream, stream.drawn

    def prefilled(self, stream: Stream, utterance: Utterance) -> None:
        """That has been done."""
        utterance.fed = min(utterance.fed + self._limits.prefill_chunk, utterance.prefill)
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
        utterance.after = stream.history.segments
        self._expectation.learn(len(ids), len(tokens))
        stream.drawn = None
        if not tokens:
            self._finish(stream, utterance)
        self._open(stream)

    # Sounding

    def sounding(self, now: float, rate: float | None) -> list[tuple[Stream, Utterance, Chunk]]:
        """The blocks that can be made now, the most urgent first: one of each job. Lets listeners begin.

        Those who may not yet are last, and come only where no listener is in need, whom they would slow down: what is
        made for them meanwhile is kept, and lets them begin the sooner.
        rate: the work that one maker does in a second, see `deadlines`; None if that is not yet known.
        """
        due = []
        for stream in self.streams:
            block = stream.spoken[0].look() if stream.spoken else None
            if block is not None and not stream.handle.ended and not self.held(stream):
                stream.due = stream.due or now
                due.append((stream, stream.spoken[0], block))
        self._let_begin([s for s in self.streams if not s.speaking and s.due is not None], now, rate)
        by_urgency = sorted((urgency(self.standing(item[0]), rate, now), i) for i, item in enumerate(due))
        speaking = [due[i] for _, i in by_urgency if due[i][0].speaking]
        if any(not can_wait for (can_wait, _), i in by_urgency if due[i][0].speaking):
            return speaking
        return speaking + [due[i] for _, i in by_urgency if not due[i][0].speaking]

    def turned_to(self, stream: Stream, now: float) -> None:
        """A step of making sound begins, for this job before others."""
        if not stream.job.stream:
            self._whole_turn = now

    def _let_begin(self, waiting: list[Stream], now: float, rate: float | None) -> None:
        """In the order in which they came; where one may not yet, nobody after him may."""
        speaking = [
            # Who does not read has long run dry by the clock, and needs nothing.
            stream
            for stream in self.streams
            if waiting and stream.speaking and stream.job.stream and not self.held(stream)
        ]
        for stream in sorted(waiting, key=lambda stream: stream.since):
            others = [(self.standing(other).due, self._pieces(other)) for other in speaking]
            if not may_begin(self._pieces(stream), others, rate, now, lead=stream.lead, makers=self._makers):
                return
            if self._begin(stream) and stream.due is not None:
                stream.handle.report.add_time("queue", stream.due, now)
                stream.since = now
                speaking.append(stream)
                self._line.notify()  # his first block may be another maker's

    def made(self, stream: Stream, utterance: Utterance, wave: Wave, now: float, *, whole: bool) -> None:
        """More sound of the job's first block; `whole`: with this the block has been made."""
        block = utterance.block
        if self._streams.get(stream.slot) is not stream or block is None:
            return
        if stream.speaking:
            stream.since = now
        if whole:
            utterance.block, utterance.sounded = None, block.end
        if over := whole and block.last:
            self._finish(stream, utterance)
        if len(wave) and stream.speaking:
            stream.handle.put(wave)
        elif len(wave):
            stream.kept.append(wave)
        if over and stream.drawn is None:
            self._open(stream)

    def _finish(self, stream: Stream, utterance: Utterance) -> None:
        """The segment has been said; its last sound, if it has any, is not yet with the reader."""
        report = stream.handle.report
        report.text_ids += len(utterance.segment.ids)
        report.speech_tokens += len(utterance.tokens)
        report.segments_done += 1
        # Without tokens it changes nothing, and those before it may not have been heard.
        if utterance.tokens and not stream.handle.ended:
            report.history = utterance.after
        stream.spoken.remove(utterance)

    # Looking ahead

    def standing(self, stream: Stream) -> Standing:
        """What the policy needs to know of it."""
        block = stream.spoken[0].block if stream.spoken else None
        tokens = block.lookahead_end - block.start if block is not None else 0
        return Standing(stream.job.stream, stream.since, stream.handle.dry_at, work(tokens), self._whole_turn)

    def left(self, stream: Stream) -> float:
        """Seconds of sound that the job is still to become."""
        return sum(piece.sound for piece in self._pieces(stream))

    def _pieces(self, stream: Stream) -> Iterator[Piece]:
        """The blocks to come, the one that is being made included; as long as the texts are expected to be."""
        blocks: list[Iterable[Chunk]] = []
        for utterance in stream.spoken:
            tokens = len(utterance.tokens)
            if not utterance.over:
                tokens = max(tokens + 1, self._expectation.tokens(len(utterance.segment.ids)))
            blocks += [[utterance.block] if utterance.block is not None else [], utterance.chunker.remaining(tokens)]
        for segment in stream.todo:
            blocks.append(Chunker(stream.ladder).remaining(self._expectation.tokens(len(segment.ids))))
        for block in chain.from_iterable(blocks):
            seconds = (block.end - block.start) / TOKEN_RATE / stream.job.speed
            seconds += self._behind * (block.last - (block.start == 0))
            yield Piece(max(0.0, seconds), work(block.lookahead_end - block.start))

    def turn(
        self, now: float, rate: float | None, sounding: list[tuple[Stream, Utterance, Chunk]]
    ) -> Literal["draw", "sound"] | None:
        """What one thread that does both should do next: tokens for a listener without a block, or the first block."""
        drawing = [stream for stream in self.streams if stream.drawn is not None]
        if not sounding or not drawing:
            return "sound" if sounding else "draw" if drawing else None
        starved = [stream for stream in drawing if stream.spoken[0].block is None and not self.held(stream)]
        first = urgency(self.standing(sounding[0][0]), rate, now)
        # Whole jobs get no turns here: whenever a listener needs tokens, their rows are drawn along.
        standings = (replace(self.standing(stream), turn=math.inf) for stream in starved)
        hungry = (urgency(standing, rate, now + TOKENS_FIRST) for standing in standings)
        return "draw" if min(hungry, default=first) < first else "sound"
