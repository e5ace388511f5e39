"""One segment's samples out of several tries at it: each is heard once, whoever made it.

When a node is lost in the middle of a segment, another makes the segment anew. What was heard already is skipped. If
the two sound the same up to there, that is all; if not, the join goes to the nearest silence. In both cases the last
moments, held back for that purpose, are cross-faded into the new ones (of equal sounds that changes nothing).
Arithmetic only. Knows nothing about nodes. Samples are signed 16 bit, one channel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.int16]

FADE_SECONDS = 0.02
"""Seconds held back, to fade out of; and how long a silence must be to fade in it."""
SEARCH_SECONDS = 0.5
"""Seconds within which a silence is looked for, before and after the place where the other broke off."""
SAME_TOLERANCE = 0.05
"""Two sounds are the same if their difference is no louder than this fraction of the first: other sums, same tokens."""
SILENCE_RATIO = 0.1
"""A frame is silent when it is no louder than this fraction of its surroundings."""
SILENCE_RMS = 8.0
"""Root mean square below which anything is silent."""


@dataclass(frozen=True)
class SplicePoint:
    """Where one try went over into another: `at` seconds into the segment, which the new try has `shift` s later.

    `same`: both sounded alike, so nothing of it is heard.
    """

    at_seconds: float
    shift_seconds: float
    seamless: bool


class Splicer:
    """Feed it each try's bytes as they come, `restart` it when a try breaks off, `end` it when one is complete."""

    def __init__(self, rate: int) -> None:
        self.joins: list[SplicePoint] = []
        self.complete = False
        self._rate = rate
        self._reserve = round(FADE_SECONDS * rate)
        self._reach = round(SEARCH_SECONDS * rate)
        # The current try's bytes, and how many of its samples count as heard.
        self._track, self._place = bytearray(), 0
        # The try before it, while it is not yet decided where to go over.
        self._before: tuple[Samples, int] | None = None

    def feed(self, data: bytes) -> bytes:
        """The samples that may be heard now."""
        self._track += data
        return self._out(ended=False)

    def restart(self) -> None:
        """The try is lost; the next bytes are the segment's first again."""
        if self._before is None and self._place:
            self._before = _samples(self._track), self._place
        self._track, self._place = bytearray(), 0

    def end(self) -> bytes:
        """What is left: the try is complete."""
        out = self._out(ended=True)
        self.complete = True
        return out

    def _out(self, *, ended: bool) -> bytes:
        if self.complete:
            return b""
        count, faded = len(self._track) // 2, b""
        if self._before is not None:
            heard, place = self._before
            track = _samples(self._track)
            same = _same(heard, track)
            if not ended and count < (len(heard) if same else place + self._reach) + 2 * self._reserve:
                return b""
            faded = self._switch(heard, place, track, same)
        upto = max(self._place, count if ended else count - self._reserve)
        fresh = bytes(self._track[2 * self._place : 2 * upto])
        self._place = upto
        return faded + fresh

    def _switch(self, heard: Samples, place: int, track: Samples, same: bool) -> bytes:
        """Decides where; gives the held-back moments of the old try, faded into the new one."""
        start = place if same else nearest_silence(track, place, self._reach, self._reserve)
        tail = heard[place:]
        head = track[start : start + len(tail)]
        self._place, self._before = start + len(head), None
        self.joins.append(SplicePoint(place / self._rate, (start - place) / self._rate, same))
        return cross_fade(tail, head).astype("<i2").tobytes()


def _samples(data: bytearray) -> Samples:
    return np.frombuffer(bytes(data[: len(data) // 2 * 2]), "<i2").astype(np.int16)


def _same(heard: Samples, track: Samples) -> bool:
    """Whether `track` has got as far as what was heard before, and sounds the same until there."""
    if len(track) < len(heard):
        return False
    difference = heard.astype(np.float64) - track[: len(heard)]
    return rms(difference) <= max(SAME_TOLERANCE * rms(heard), SILENCE_RMS)


def rms(samples: NDArray[np.generic]) -> float:
    """Root mean square; 0 of nothing."""
    if not len(samples):
        return 0.0
    return float(np.sqrt(np.mean(np.square(samples.astype(np.float64)))))


def cross_fade(tail: Samples, head: Samples) -> Samples:
    """From `tail` to `head` by a raised cosine, as long as `tail`; where `head` ends sooner, into silence."""
    rise = 0.5 - 0.5 * np.cos(np.pi * (np.arange(len(tail)) + 0.5) / max(len(tail), 1))
    padded = np.zeros(len(tail))
    padded[: len(head)] = head
    # Written so that of two equal samples nothing but that sample comes out.
    return np.rint(tail + (padded - tail) * rise).astype(np.int16)


def nearest_silence(track: Samples, place: int, reach: int, frame: int) -> int:
    """The start of the silent frame of `track` nearest to `place`, at most `reach` away.

    Of the quietest frame where none is silent; `place` itself, or the track's end, where no whole frame is that near.
    """
    low, high = max(0, place - reach), min(len(track), place + reach)
    # Every half frame, counted from `place`, so that it is one of the starts.
    step = max(1, frame // 2)
    starts = np.arange(place - (place - low) // step * step, high - frame + 1, step)
    if not len(starts):
        return min(place, len(track))
    levels = np.array([rms(track[start : start + frame]) for start in starts])
    silent = starts[levels <= max(SILENCE_RATIO * rms(track[low:high]), SILENCE_RMS)]
    if not len(silent):
        return int(starts[levels.argmin()])
    return int(silent[np.abs(silent - place).argmin()])
