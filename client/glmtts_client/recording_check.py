"""What is wrong with a recording that a voice is to be cloned from. Thresholds are by ear, on 20 ms frames."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]
FRAME_SECONDS = 0.02
MIN_SPEECH_SECONDS = 1.5
"""Less speech than this is too little to clone a voice from."""
SPEECH_RANGE = 25.0
"""dB below the loudest speech in which a frame counts as speech."""
MIN_LEVEL = -45.0
"""dBFS of the loudest speech; what is below has too few bits, or is no speech."""
MIN_CONTRAST = 20.0
"""dB from the quietest to the loudest frames; with white noise 15 dB below the speech. Clean ones have 45 to 55."""
FULL_SCALE, MAX_CLIPPED = 0.99, 2e-4
"""Share of samples at full scale: at most 3e-5 where the loudest peak just reaches it."""


def find_problems(samples: Samples, rate: int) -> list[str]:
    """The problems of mono samples in [-1, 1], in words for the speaker; none if the recording is good."""
    return list(_problems(samples, rate))


def _problems(samples: Samples, rate: int) -> Iterator[str]:
    levels = _levels(samples, round(rate * FRAME_SECONDS))
    loudest, quietest = (float(np.percentile(levels, share)) for share in (95, 5))
    if loudest < MIN_LEVEL:
        yield f"too quiet: speech at {loudest:.0f} dBFS, expected at least {MIN_LEVEL:.0f}; is the microphone on?"
        return
    clipped = float(np.mean(np.abs(samples) >= FULL_SCALE))
    if clipped > MAX_CLIPPED:
        yield f"clipped: {clipped:.2%} of it is at full scale; lower the input level or go farther from the microphone"
    if loudest - quietest < MIN_CONTRAST:
        yield f"noisy: the background is only {loudest - quietest:.0f} dB below the speech; expected {MIN_CONTRAST:.0f}"
    seconds = float(np.sum(levels > loudest - SPEECH_RANGE)) * FRAME_SECONDS
    if seconds < MIN_SPEECH_SECONDS:
        yield f"too short: {seconds:.1f} s of speech, expected at least {MIN_SPEECH_SECONDS:g}, best 3 to 10"


def _levels(samples: Samples, frame: int) -> npt.NDArray[np.float64]:
    """Level of each frame in dBFS."""
    count = len(samples) // frame
    power = np.square(samples[: count * frame].astype(np.float64)).reshape(count, frame).mean(axis=1)
    return np.asarray(10 * np.log10(np.maximum(power, 1e-12)))


def transcript_problem(voice: dict[str, Any], reference_text: str) -> str | None:
    """What the server found of the transcript when it stored a voice; None if it fits."""
    if not reference_text:
        return "no transcript: the voice gives its timbre only"
    if voice.get("prompted") is False:
        return "the transcript does not fit what is said in the recording: the voice gives its timbre only"
    return None
