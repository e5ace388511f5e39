"""A recogniser listens to the streams that went from one node to another, and to the same ones undisturbed.

Needs the extra `eval`. Knows nothing about how the streams came about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from scripts.benchmarks.speech_metrics import Recogniser, error_rate
from scripts.faults.load import STORIES, Heard


class Ears:
    """`work` is the folder in which the recogniser's files are kept; what is missing is fetched."""

    def __init__(self, work: Path) -> None:
        self._recogniser = Recogniser(work)

    def compare(self, stories: Sequence[Heard], calm: Mapping[int, Heard]) -> list[str]:
        """A line for each language: errors in streams that changed nodes, and in the same ones undisturbed."""
        moved = [story for story in stories if story.ended and any(report.splice_points for report in story.segments)]
        lines = []
        for lang in ("en", "zh"):
            these = [story for story in moved if (lang == "en") == STORIES[story.listener][0].isascii()]
            if these:
                wrong, usual = self._errors(these, lang), self._errors([calm[s.listener] for s in these], lang)
                lines.append(f"{lang}: {len(these)} streams changed nodes; {wrong:.1%} heard wrong, {usual:.1%} else")
        return lines or ["no stream changed nodes"]

    def _errors(self, stories: Sequence[Heard], lang: str) -> float:
        """Of words (en) or toneless syllables (zh)."""
        waves = [np.frombuffer(story.audio, "<i2").astype(np.float32) / np.float32(2**15) for story in stories]
        heard = [self._recogniser.hear(wave, story.rate, lang) for wave, story in zip(waves, stories, strict=True)]
        return error_rate([" ".join(STORIES[story.listener]) for story in stories], heard, lang)
