"""How a segment's speech tokens are split into chunks, and when each chunk can be made.

Chunk sizes follow a fixed schedule. So where chunks meet depends only on the number of tokens in the segment and never
on when these arrive: load may delay a chunk, but cannot change what is in it. All lengths are in speech tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass

from glmtts.engine.config import ChunkSchedule

WHOLE_SEGMENT = ChunkSchedule(sizes=(1 << 30,), lookahead=1, left_context=0)
"""One chunk per segment, made when all its tokens exist."""


@dataclass(frozen=True)
class Chunk:
    """Tokens [start, end) to turn into audio, after the context [context_start, start).

    It is made with [end, lookahead_end) as well, and the audio of these tokens is dropped.
    """

    context_start: int
    start: int
    end: int
    lookahead_end: int
    last: bool
    """Whether the segment ends with it."""


class Chunker:
    """The chunks of one segment. Call `next_chunk` whenever tokens have arrived, until it returns the last one."""

    def __init__(self, schedule: ChunkSchedule) -> None:
        self._schedule = schedule
        self._start = self._index = 0
        self._finished = False

    def next_chunk(self, num_tokens: int, eos: bool) -> Chunk | None:
        """Returns the next chunk if `num_tokens` tokens suffice for it; `eos`: the segment has no more than these.

        A chunk needs its lookahead as well. A rest at the segment's end that is too short to be anyone's lookahead
        joins the chunk before it, so only a segment's single chunk can be shorter than the lookahead.
        """
        schedule, start = self._schedule, self._start
        if self._finished or (eos and num_tokens == 0):
            return None
        end = start + schedule.sizes[min(self._index, len(schedule.sizes) - 1)]
        if last := num_tokens < end + schedule.lookahead:
            if not eos:
                return None
            end = num_tokens
        self._start, self._index, self._finished = end, self._index + 1, last
        return Chunk(max(0, start - schedule.left_context), start, end, end if last else end + schedule.lookahead, last)

    def remaining(self, num_tokens: int) -> Iterator[Chunk]:
        """Yields the chunks still to come if the segment has `num_tokens` tokens in all, without consuming them."""
        preview = copy(self)
        while (chunk := preview.next_chunk(num_tokens, eos=True)) is not None:
            yield chunk
