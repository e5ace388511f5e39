"""The error rate of a recogniser's hypotheses."""

from __future__ import annotations

import pytest

speech_metrics = pytest.importorskip("scripts.benchmarks.speech_metrics", reason="needs the extra eval")
error_rate = speech_metrics.error_rate


def test_errors_are_edits_per_word_or_syllable() -> None:
    """Case, punctuation, tones, homophones and the spelling of a number don't count."""
    assert error_rate(["He has six cats."], ["he has 6 cats"], "en") == 0
    assert error_rate(["He has six cats."], ["he had six"], "en") == pytest.approx(2 / 4)
    assert error_rate(["他在银行。"], ["她在银杭"], "zh") == 0
    assert error_rate(["他在银行。"], [""], "zh") == 1


def test_one_looping_hypothesis_does_not_outweigh_all_others() -> None:
    """A hypothesis counts up to twice the length of its reference."""
    references = ["please come in", "the moon rose"]
    assert error_rate(references, ["please come in " + "la " * 200, "the moon rose"], "en") == pytest.approx(3 / 6)
