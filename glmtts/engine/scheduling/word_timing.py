"""When the words of a segment are spoken: by the speech tokens that are aligned with their ids, or by their length."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from glmtts.dsp.audio import Wave
from glmtts.engine.api import WordTiming
from glmtts.text.frontend.frontend import Segment
from glmtts.text.frontend.words import WordSpan

FRAME_SECONDS = 0.01
ONSET_LEVEL = 0.01
"""RMS of a frame from which on it counts as sound."""
PAUSE_SECONDS = 0.12
"""Silence of at least this at the beginning of a word is a pause before it. Less may be a stop's closure."""


def frames_with_sound(wave: Wave, sample_rate: int) -> list[float]:
    """When they begin, in seconds."""
    size = round(FRAME_SECONDS * sample_rate)
    frames = wave[: len(wave) // size * size].reshape(-1, size)
    loud = np.flatnonzero(np.mean(np.square(frames), axis=1) >= ONSET_LEVEL**2)
    return [int(frame) * size / sample_rate for frame in loud]


def word_timings(
    segment: Segment,
    alignment: Sequence[int] | None,
    start: float,
    end: float,
    sound: Sequence[float] = (),
    certain_ids: int | None = None,
) -> tuple[WordTiming, ...]:
    """The timings of `segment.words`; all times are in seconds.

    Args:
        alignment: for each speech token the index of its text id, never decreasing; None if that is not known.
        start, end: of the segment's audio.
        sound: when its frames with sound begin. No word begins before the first, or in a pause.
        certain_ids: the alignment is certain for so many ids; None: for all.
    """
    onset = sound[0] if sound else start
    certain = 0 if alignment is None else len(segment.ids) if certain_ids is None else certain_ids

    def at(id_index: int) -> float:
        if alignment is None:
            return onset + (end - onset) * id_index / len(segment.ids)
        return max(onset, start + (end - start) * bisect_left(alignment, id_index) / len(alignment))

    def timing(word: WordSpan) -> WordTiming:
        begins, ends = at(word.start), at(word.end)
        first = bisect_left(sound, begins)
        if first < len(sound) and begins + PAUSE_SECONDS <= sound[first] < ends:
            begins = sound[first]
        return WordTiming(word.text, begins, ends, not (word.exact and word.end <= certain))

    return tuple(map(timing, segment.words))
