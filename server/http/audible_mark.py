"""A sound in front of speech that says that it is synthetic: "AI" in Morse code, short long, short short.

GB 45438-2025 names this rhythm as an explicit label of audio. It survives every conversion, as it is heard.
"""

from __future__ import annotations

import numpy as np

from glmtts.dsp.audio import EMPTY_WAVE, Wave
from glmtts.engine.api import Job

RHYTHM = (1, -1, 3, -3, 1, -1, 1, -4)
"""Units of tone, and of silence where negative: letters are three units apart, and the speech begins after four."""
UNIT_SECONDS = 0.06
RAMP_SECONDS = 0.005
"""Of each tone's ends, which would click."""
FREQUENCY = 880.0
LEVEL = 0.1


def mark_before(job: Job, *, enabled: bool = True) -> Wave:
    """The mark, 0.9 s at the job's rate; nothing if the job goes on where an earlier one stopped, or if not `enabled`.

    `enabled`: Settings.audible_mark.
    """
    return _morse_code(job.sample_rate) if enabled and job.segments[0].index == 0 else EMPTY_WAVE


def _morse_code(sample_rate: int) -> Wave:
    return np.concatenate(
        [_tone(units, sample_rate) * (LEVEL if units > 0 else 0.0) for units in RHYTHM], dtype=np.float32
    )


def _tone(units: int, sample_rate: int) -> Wave:
    time = np.arange(round(abs(units) * UNIT_SECONDS * sample_rate), dtype=np.float32) / sample_rate
    ramp = np.minimum(1.0, np.minimum(time, time[::-1]) / RAMP_SECONDS)
    wave: Wave = (np.sin(2 * np.pi * FREQUENCY * time) * ramp).astype(np.float32)
    return wave
