"""Joins the samples of several attempts at one segment, so that each sample is heard once.

When a node fails in the middle of a segment, another node starts the segment again. The part already heard is skipped.
If both nodes produced the same audio up to that point, the second simply continues; otherwise the switch moves to the
nearest silence. The last 20 ms of the first attempt are held back and cross-faded into the second (between equal
samples a fade changes nothing). Samples are signed 16 bit, mono.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.int16]

FADE_SECONDS = 0.02
"""Length of the cross-fade, hence of what is held back, and of the silence to look for."""
SEARCH_SECONDS = 0.5
"""How far before and after the point of failure to look for a silence."""
SAME_TOLERANCE = 0.05
"""Two waveforms are the same if the RMS of their difference is at most this fraction of the RMS of the first.

Other hardware rounds differently, so equal tokens do not give bit-equal audio.
"""
SILENCE_RATIO = 0.1
"""A frame is silent if its RMS is at most this fraction of the RMS around it."""
SILENCE_RMS = 8.0
"""RMS up to which anything counts as silent."""


@dataclass(frozen=True)
class SplicePoint:
    """Where one attempt was continued by another: `at_seconds` into the segment.

    `shift_seconds`: how much later this point is in the new attempt. `seamless`: both have the same audio up to here,
    so the switch is inaudible.
    """

    at_seconds: float
    shift_seconds: float
    seamless: bool


class Splicer:
    """Pass each attempt's bytes to `feed`; call `restart` when an attempt fails and `finish` when one is complete."""

    def __init__(self, sample_rate: int) -> None:
        self.points: list[SplicePoint] = []
        self.complete = False
        self.sample_rate = sample_rate
        self._fade = round(FADE_SECONDS * sample_rate)
        self._search = round(SEARCH_SECONDS * sample_rate)
        # The current attempt's bytes, and how many of its samples have been heard.
        self._track, self._position = bytearray(), 0
        # Samples and position of the failed attempt, until the switch is decided.
        self._failed: tuple[Samples, int] | None = None

    def feed(self, data: bytes) -> bytes:
        """Adds bytes of the current attempt; returns those that can be played now."""
        self._track += data
        return self._take(complete=False)

    def restart(self) -> None:
        """Drops the current attempt; the next bytes start the segment again."""
        if self._failed is None and self._position:
            self._failed = _samples(self._track), self._position
        self._track, self._position = bytearray(), 0

    def finish(self) -> bytes:
        """The attempt is complete: returns the rest."""
        out = self._take(complete=True)
        self.complete = True
        return out

    def _take(self, *, complete: bool) -> bytes:
        if self.complete:
            return b""
        count, faded = len(self._track) // 2, b""
        if self._failed is not None:
            old, position = self._failed
            new = _samples(self._track)
            same = _is_same(old, new)
            if not complete and count < (len(old) if same else position + self._search) + 2 * self._fade:
                return b""
            faded = self._switch(old, position, new, same)
        end = max(self._position, count if complete else count - self._fade)
        fresh = bytes(self._track[2 * self._position : 2 * end])
        self._position = end
        return faded + fresh

    def _switch(self, old: Samples, position: int, new: Samples, same: bool) -> bytes:
        """Chooses the splice point; returns the held-back samples of `old`, faded into `new`."""
        start = position if same else nearest_silence(new, position, self._search, self._fade)
        tail = old[position:]
        head = new[start : start + len(tail)]
        self._position, self._failed = start + len(head), None
        rate = self.sample_rate
        self.points.append(SplicePoint(position / rate, (start - position) / rate, same))
        return cross_fade(tail, head).astype("<i2").tobytes()


def _samples(data: bytearray) -> Samples:
    return np.frombuffer(bytes(data[: len(data) // 2 * 2]), "<i2").astype(np.int16)


def _is_same(old: Samples, new: Samples) -> bool:
    """Whether `new` is at least as long as `old` and starts with the same audio."""
    if len(new) < len(old):
        return False
    difference = old.astype(np.float64) - new[: len(old)]
    return rms(difference) <= max(SAME_TOLERANCE * rms(old), SILENCE_RMS)


def rms(samples: NDArray[np.generic]) -> float:
    """Root mean square; 0 for an empty array."""
    if not len(samples):
        return 0.0
    return float(np.sqrt(np.mean(np.square(samples.astype(np.float64)))))


def cross_fade(tail: Samples, head: Samples) -> Samples:
    """A raised-cosine fade from `tail` to `head`, as long as `tail`; a shorter `head` is padded with silence."""
    rise = 0.5 - 0.5 * np.cos(np.pi * (np.arange(len(tail)) + 0.5) / max(len(tail), 1))
    padded = np.zeros(len(tail))
    padded[: len(head)] = head
    # In this form two equal samples give exactly that sample.
    return np.rint(tail + (padded - tail) * rise).astype(np.int16)


def nearest_silence(track: Samples, position: int, reach: int, frame: int) -> int:
    """The start of the silent frame of `track` nearest to `position`, at most `reach` samples away.

    Without a silent frame, the start of the quietest; without a whole frame in reach, `position` or the track's end.
    """
    low, high = max(0, position - reach), min(len(track), position + reach)
    # Every half frame, aligned so that `position` is one of the starts.
    step = max(1, frame // 2)
    starts = np.arange(position - (position - low) // step * step, high - frame + 1, step)
    if not len(starts):
        return min(position, len(track))
    levels = np.array([rms(track[start : start + frame]) for start in starts])
    silent = starts[levels <= max(SILENCE_RATIO * rms(track[low:high]), SILENCE_RMS)]
    if not len(silent):
        return int(starts[levels.argmin()])
    return int(silent[np.abs(silent - position).argmin()])
