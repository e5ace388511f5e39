"""Finds pauses in speech."""

from __future__ import annotations

import numpy as np

from glmtts.dsp.audio import TOKEN_RATE, Wave

QUIET = 0.1
"""A frame is quiet below this share of the level of loud speech, the 90th percentile of the frames' RMS."""

MIN_FRAMES = 3


def find_pauses(wave: Wave, rate: int) -> list[int]:
    """The centres of pauses of at least 120 ms, in speech tokens of 40 ms from the start.

    wave: (samples,) float32 at `rate` Hz. Silence before the first and after the last loud frame is not a pause.
    """
    size = rate // TOKEN_RATE
    count = len(wave) // size
    if count == 0:
        return []
    level = np.sqrt(np.mean(np.square(wave[: count * size].reshape(count, size)), axis=1))
    loud = np.flatnonzero(level > QUIET * np.quantile(level, 0.9))
    if len(loud) < 2:
        return []
    gaps = np.diff(loud) - 1
    wide = gaps >= MIN_FRAMES
    return [int(start + 1 + gap // 2) for start, gap in zip(loud[:-1][wide], gaps[wide], strict=True)]
