"""Playout underruns: the silence within a stream for a listener who plays each chunk as soon as it arrives."""

from __future__ import annotations

import time
from collections.abc import Iterator

from glmtts.dsp.audio import Wave


class UnderrunMeter:
    """`underrun_seconds` is the silence that the listener has heard after the first audio."""

    def __init__(self) -> None:
        self.underrun_seconds = 0.0
        self._playout_end: float | None = None

    def on_chunk(self, request_time: float, arrival_time: float, seconds: float) -> None:
        """Adds a chunk of `seconds`. The times, in seconds on one clock, are of its request and of its arrival."""
        if self._playout_end is None:
            self._playout_end = arrival_time
        elif arrival_time > self._playout_end:
            # Silence before the request is the reader's own: it was still busy with the previous chunk.
            self.underrun_seconds += arrival_time - max(request_time, self._playout_end)
            self._playout_end = arrival_time
        self._playout_end += seconds


def measure_underruns(chunks: Iterator[Wave], sample_rate: int, meter: UnderrunMeter) -> Iterator[Wave]:
    """Yields `chunks` unchanged, and adds each to `meter`."""
    while True:
        request_time = time.monotonic()
        wave = next(chunks, None)
        if wave is None:
            return
        meter.on_chunk(request_time, time.monotonic(), len(wave) / sample_rate)
        yield wave
