"""When a segment's speech tokens become sound, and in which blocks: policy only.

Blocks follow a fixed ladder of sizes, so where they meet is a function of how many tokens the segment has, never of
when these came: load may delay a block, but it cannot change what is said in it. Knows nothing about tensors, mels,
models or threads. All lengths are in speech tokens, 25 a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Ladder:
    """The shape of a segment's blocks.

    sizes: of its blocks in order; the last one repeats. The first is small because the listener waits for it; each
    next one may be at most so much larger as it takes less time to make than the one before takes to hear.
    ahead: how many tokens beyond its end a block is made with, that its last sounds lead to the next ones; at least
        one, for a block that is followed by none must know that it is the last.
    window: how many tokens before its start a block is prompted with, so that it goes on where they stopped.
    """

    sizes: tuple[int, ...] = (20, 25, 50, 100)
    ahead: int = 5
    window: int = 25

    def __post_init__(self) -> None:
        if not self.sizes or min(self.sizes) < 1 or self.ahead < 1 or self.window < 0:
            raise ValueError(f"{self}: sizes and ahead from 1, window from 0 are wanted")

    def at(self, speed: float) -> Ladder:
        """The ladder whose blocks and window last as long when the tokens are spoken `speed` times as fast."""
        sizes = tuple(max(1, round(size * speed)) for size in self.sizes)
        return replace(self, sizes=sizes, window=round(self.window * speed))


WHOLE = Ladder(sizes=(1 << 30,), ahead=1, window=0)
"""A segment is one block, made when all its tokens are there."""


@dataclass(frozen=True)
class Block:
    """Tokens [start, end) to make sound of, prompted with [window, start), looking ahead at [end, ahead)."""

    window: int
    start: int
    end: int
    ahead: int
    last: bool
    """Whether the segment ends with it."""


class Chunker:
    """The blocks of one segment: ask `due` again whenever tokens have come, until it has given the last."""

    def __init__(self, ladder: Ladder) -> None:
        self._ladder = ladder
        self._start = self._index = 0
        self._ended = False

    def due(self, tokens: int, over: bool) -> Block | None:
        """The next block if it can be made of the first `tokens` tokens; `over`: the segment has no more of them.

        A block is due once its look-ahead exists as well. What is left at the segment's end and too short to look
        ahead to goes with the block before it, so no block but a segment's only one is shorter than `ahead`.
        """
        ladder, start = self._ladder, self._start
        if self._ended or (over and tokens == 0):
            return None
        end = start + ladder.sizes[min(self._index, len(ladder.sizes) - 1)]
        if last := tokens < end + ladder.ahead:
            if not over:
                return None
            end = tokens
        self._start, self._index, self._ended = end, self._index + 1, last
        return Block(max(0, start - ladder.window), start, end, end if last else end + ladder.ahead, last)

    def rest(self, tokens: int) -> Iterator[Block]:
        """The blocks to come if the segment has `tokens` tokens in all; they are not given by this."""
        foresight = copy(self)
        while (block := foresight.due(tokens, over=True)) is not None:
            yield block
