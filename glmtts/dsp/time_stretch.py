"""Changes the speed of speech without its pitch, while the speech is being made.

libsonic, a port of Sonic, removes or repeats whole pitch periods and cross-fades where they meet. It does not run on
Python 3.10; there a model speaks at every speed by itself, as one without a speed range does.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np

from glmtts.dsp.audio import EMPTY_WAVE, Wave

AVAILABLE = find_spec("libsonic") is not None
DELAY_SECONDS = 0.04
"""Of input, that are held back until more follows."""
BLOCKS_PER_SECOND = 100
"""A block is short beside the two longest pitch periods (31 ms) that libsonic waits for."""


@dataclass(frozen=True)
class SpeedRange:
    """The speeds at which a model speaks well by itself; None where it has no limit."""

    minimum: float | None = None
    maximum: float | None = None

    def split(self, speed: float) -> tuple[float, float]:
        """The model's part of `speed`, which is within the range, and the factor that a TimeStretch has to add."""
        if not AVAILABLE:
            return speed, 1.0
        model_speed = speed if self.minimum is None else max(speed, self.minimum)
        model_speed = model_speed if self.maximum is None else min(model_speed, self.maximum)
        return model_speed, speed / model_speed


class TimeStretch:
    """Makes one segment `factor` times as fast. Samples are a function of the segment's, however it was cut.

    Up to DELAY_SECONDS of the input are held back until more follows. The length is that of the input divided by
    `factor`, within 1 % or 10 ms, whichever is more. A factor of 1 changes nothing.

    Args:
        factor: 0.1 to 10; 2 is twice as fast.
        sample_rate: in Hz.
    """

    def __init__(self, factor: float, sample_rate: int) -> None:
        self._is_identity = factor == 1.0
        if self._is_identity:
            return
        from libsonic import SonicStream

        self._stream = SonicStream(sample_rate, 1)
        self._stream.set_speed(factor)
        self._block = sample_rate // BLOCKS_PER_SECOND
        self._pending: Wave = EMPTY_WAVE

    def feed(self, wave: Wave) -> Wave:
        """Takes the next samples of the segment, any number of them; returns those that are ready."""
        if self._is_identity:
            return wave
        # What libsonic returns depends on the sizes of its writes, so they are all the same.
        samples = np.concatenate([self._pending, wave])
        whole = len(samples) - len(samples) % self._block
        for start in range(0, whole, self._block):
            self._stream.write(samples[start : start + self._block])
        self._pending = samples[whole:]
        return self._read()

    def finish(self) -> Wave:
        """The segment's last samples."""
        if self._is_identity:
            return EMPTY_WAVE
        self._stream.write(self._pending)
        self._pending = EMPTY_WAVE
        self._stream.flush()
        return self._read()

    def _read(self) -> Wave:
        return np.asarray(self._stream.read(self._stream.available_frames()), np.float32)
