"""When the words of a segment are spoken: by the speech tokens that are aligned with their ids, or by their length."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from glmtts.dsp.audio import Wave
from glmtts.engine.api import WordTiming
from glmtts.text.frontend.frontend import Segment

FRAME_SECONDS = 0.01
ONSET_LEVEL = 0.01
"""RMS of a frame from which on it counts as sound."""


def find_onset(wave: Wave, sample_rate: int) -> int | None:
    """The first sample of the first frame with sound; None if there is none."""
    size = round(FRAME_SECONDS * sample_rate)
    frames = wave[: len(wave) // size * size].reshape(-1, size)
    loud = np.flatnonzero(np.mean(np.square(frames), axis=1) >= ONSET_LEVEL**2)
    return int(loud[0]) * size if len(loud) else None


def word_timings(
    segment: Segment, alignment: Sequence[int] | None, start: float, onset: float, end: float
) -> tuple[WordTiming, ...]:
    """The timings of `segment.words`; all times are in seconds.

    Args:
        alignment: for each speech token the index of its text id, never decreasing; None if that is not known.
        start, onset, end: of the segment's audio, and when its sound begins; no word begins before.
    """

    def at(id_index: int) -> float:
        if alignment is None:
            return onset + (end - onset) * id_index / len(segment.ids)
        return start + (end - start) * bisect_left(alignment, id_index) / len(alignment)

    return tuple(
        WordTiming(word.text, max(onset, at(word.start)), max(onset, at(word.end)), alignment is None or not word.exact)
        for word in segment.words
    )
