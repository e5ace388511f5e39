"""How long a listener would have waited in the middle: one who plays what he gets as it comes.

Knows no clock, no audio and no sockets: it is told when chunks were asked for, when they came and how long they sound.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from glmtts.dsp.audio import Wave


class UnderrunMeter:
    """`waited` is the silence that the listener heard after his first sound, in seconds."""

    def __init__(self) -> None:
        self.underrun_seconds = 0.0
        self._played_out: float | None = None

    def on_chunk(self, asked: float, came: float, seconds: float) -> None:
        """A chunk of `seconds` s that was asked for at `asked` and came at `came`, on one clock."""
        if self._played_out is None:
            self._played_out = came
        elif came > self._played_out:
            # Silence that began before the chunk was asked for is the reader's own: he was still taking the last one.
            self.underrun_seconds += came - max(asked, self._played_out)
            self._played_out = came
        self._played_out += seconds


def measure_underruns(chunks: Iterator[Wave], sample_rate: int, meter: UnderrunMeter) -> Iterator[Wave]:
    """The same chunks; `meter` is told of each as it comes."""
    while True:
        asked = time.monotonic()
        wave = next(chunks, None)
        if wave is None:
            return
        meter.on_chunk(asked, time.monotonic(), len(wave) / sample_rate)
        yield wave
