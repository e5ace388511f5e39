"""Who goes first, and who may begin to speak: policy on clocks, never on what is said.

A listener hears sound as fast as time goes by. So whoever would run dry first goes first, and nobody begins who would
make somebody run dry. Knows nothing about slots, tensors or threads. Times in seconds, on `time.monotonic`'s clock;
work in tokens of sound made, see `work`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import heapify, heappop, heapreplace
from itertools import islice

FIRST = 0.5
"""A listener's first sound is due so long after his job was let in."""
WHOLE = 3.0
"""Sound that nobody listens to as it comes is due so long after the job's last."""
SLACK = 0.5
"""A listener's block that must be begun within so long is before all that can wait."""
TURN = 1.0
"""Of the overdue jobs that nobody listens to one gets a step so often, in seconds, whoever is in need: listeners who
come and come would else keep them waiting for ever. A step is short, so this is a small part of what there is."""
HEADROOM = 0.7
"""Share of the engine's speed that listeners may need together."""
HORIZON = 16
"""Blocks of a job that are looked at in advance: by then they are as large as they get."""
BLOCK = 20
"""What a block costs beside its tokens, in tokens: context, and that small steps are inefficient."""


def work(tokens: int) -> float:
    """Of a block of so many tokens."""
    return tokens + BLOCK


@dataclass(frozen=True)
class Piece:
    """A block to come: seconds of sound, and work."""

    sound: float
    work: float


@dataclass(frozen=True)
class Standing:
    """What the policy looks at of a job. `since`: when it was let in or last got sound; `dry_at`: when its listener
    has heard all he has, None before his first sound; `work`: of its next block; `turn`: when a step was last made for
    any of the jobs that nobody listens to."""

    listens: bool
    since: float
    dry_at: float | None
    work: float
    turn: float = -math.inf

    @property
    def due(self) -> float:
        """When its next sound is due."""
        if not self.listens:
            return self.since + WHOLE
        return self.since + FIRST if self.dry_at is None else self.dry_at


def urgency(job: Standing, rate: float | None, now: float) -> tuple[bool, float]:
    """Sorts the most urgent first: those that cannot wait, then all others, by what is due.

    A listener cannot wait whose next block must be begun soon, nor can a whole job that is overdue when none has had a
    turn of late. As a listener's due goes on with what he gets, a whole job's stays, so its turn comes in any case.
    rate: work that one maker of sound does in a second, None if that is not yet known.
    """
    if job.listens:
        begin = job.due - (job.work / rate if rate else 0.0)
        return begin >= now + SLACK, job.due
    return now < max(job.due, job.turn + TURN), job.due


def may_begin(
    newcomer: Iterable[Piece],
    speaking: Iterable[tuple[float, Iterable[Piece]]],
    rate: float | None,
    now: float,
    *,
    lead: float = 0.0,
    makers: int = 1,
) -> bool:
    """Whether a listener may get his first sound without anybody, him included, running dry later on.

    It is tried in advance, block by block, the most urgent first: `newcomer` are his after the `lead` seconds of sound
    that have been made already, `speaking` when each of the others runs dry and what he is to hear. There are `makers`,
    each at work on one block at a time, as fast as `rate` says; a listener's blocks are made one after the other.
    Where nobody else speaks he may in any case.
    """
    others = [(dry_at, islice(pieces, HORIZON)) for dry_at, pieces in speaking]
    if not others or rate is None:
        return True
    rate *= HEADROOM
    # When each runs dry, who it is, and what comes next. The newcomer cannot run dry before he has begun.
    heap: list[tuple[float, int, Iterator[Piece]]] = [
        (dry_at, index, pieces) for index, (dry_at, pieces) in enumerate(others, start=1)
    ]
    heap.append((now + (lead or FIRST), 0, islice(newcomer, HORIZON)))
    heapify(heap)
    free, ready = [now] * makers, [now] * len(heap)
    begun = lead > 0
    while heap:
        dry_at, index, pieces = heap[0]
        piece = next(pieces, None)
        if piece is None:
            heappop(heap)
            continue
        made = max(free[0], ready[index]) + piece.work / rate
        heapreplace(free, made)
        ready[index] = made
        first = index == 0 and not begun
        if made > dry_at and not first:
            return False
        begun = begun or index == 0
        heapreplace(heap, ((made if first else dry_at) + piece.sound, index, pieces))
    return True


class Expectation:
    """How long a text will be: speech tokens a text id, learnt from what was spoken."""

    MEMORY = 0.02

    def __init__(self, tokens_per_id: float) -> None:
        self._ratio = tokens_per_id
        self._learnt = 0

    def learn(self, ids: int, tokens: int) -> None:
        """So many text ids became so many tokens."""
        self._learnt += 1
        self._ratio += max(self.MEMORY, 1 / self._learnt) * (tokens / ids - self._ratio)

    def tokens(self, ids: int) -> int:
        """At least one."""
        return max(1, round(ids * self._ratio))
