"""Chunk sizes by measured pace: the first as small as the next one can follow in time, each later one larger."""

from __future__ import annotations

from dataclasses import dataclass, replace

from glmtts.dsp.audio import TOKEN_RATE
from glmtts.engine.config import ChunkSchedule

FIRST_SIZES = (10, 15)
"""Sizes of the first chunk, in tokens, that are tried before the schedule's own."""
GROWTH = 2
"""A chunk is at most so many times as long as the one before: it needs all its tokens before it can be made."""
PLAY_SHARE = 0.5
"""Share of the time that a chunk plays in which the next one must be made; the rest is for other listeners."""


@dataclass(frozen=True)
class Pace:
    """Seconds to decode a token, and to make a chunk of tokens into audio, of one listener alone."""

    token_seconds: float
    chunk_seconds: float

    def seconds(self, tokens: int) -> float:
        """To make a chunk of so many tokens."""
        return tokens * self.token_seconds + self.chunk_seconds


def paced_schedule(schedule: ChunkSchedule, pace: Pace, delay_seconds: float = 0.0) -> ChunkSchedule:
    """The schedule with the smallest first chunk that lets each next one be made in time; else itself, unchanged.

    The last size stays, so that long texts cost what they did. delay_seconds: what the vocoder holds back of the first.
    """
    for first in FIRST_SIZES:
        sizes = _sizes(first, schedule.sizes[-1], pace, delay_seconds) if first < schedule.sizes[0] else None
        if sizes is not None:
            return replace(schedule, sizes=sizes)
    return schedule


def _sizes(first: int, last: int, pace: Pace, delay_seconds: float) -> tuple[int, ...] | None:
    """Sizes from the first to the last, each as large as it can be; None if they don't get there."""
    sizes = [first]
    while sizes[-1] < last:
        held_back = delay_seconds if len(sizes) == 1 else 0.0
        seconds = PLAY_SHARE * (sizes[-1] / TOKEN_RATE - held_back)
        candidates = range(min(GROWTH * sizes[-1], last), sizes[-1], -1)
        size = next((size for size in candidates if pace.seconds(size) <= seconds), None)
        if size is None:
            return None
        sizes.append(size)
    return tuple(sizes)
