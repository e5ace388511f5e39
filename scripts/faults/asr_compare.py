"""Speech recognition of the streams that failed over, and of the same streams without a fault.

Needs the extra `eval`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from scripts.benchmarks.speech_metrics import Recogniser, error_rate
from scripts.faults.load import STORIES, StreamResult


class AsrComparison:
    """Compares error rates. `work` is the folder of the recogniser's weights, which are downloaded if missing."""

    def __init__(self, work: Path) -> None:
        self._recogniser = Recogniser(work)

    def compare(self, streams: Sequence[StreamResult], baseline: Mapping[int, StreamResult]) -> list[str]:
        """A line for each language: the error rate of streams that changed nodes, and of their baselines."""
        moved = [
            stream for stream in streams if stream.complete and any(report.splice_points for report in stream.segments)
        ]
        lines = []
        for lang in ("en", "zh"):
            group = [stream for stream in moved if (lang == "en") == STORIES[stream.listener][0].isascii()]
            if group:
                errors = self._error_rate(group, lang)
                expected = self._error_rate([baseline[stream.listener] for stream in group], lang)
                lines.append(f"{lang}: {len(group)} streams changed nodes; error {errors:.1%}, baseline {expected:.1%}")
        return lines or ["no stream changed nodes"]

    def _error_rate(self, streams: Sequence[StreamResult], lang: str) -> float:
        """Of words (en) or toneless syllables (zh)."""
        waves = [np.frombuffer(stream.audio, "<i2").astype(np.float32) / np.float32(2**15) for stream in streams]
        hypotheses = [
            self._recogniser.transcribe(wave, s.sample_rate, lang) for wave, s in zip(waves, streams, strict=True)
        ]
        return error_rate([" ".join(STORIES[stream.listener]) for stream in streams], hypotheses, lang)
