"""How long texts become, learnt from those spoken."""

from __future__ import annotations

import pytest

from glmtts.engine.scheduling.length_estimator import LengthEstimator


def test_the_length_of_a_text_is_learnt() -> None:
    """The first text replaces the initial value, later ones move it; no text is expected to be empty."""
    lengths = LengthEstimator(1.0)
    lengths.update(10, 50)
    assert lengths.expected_tokens(5) == 25
    for _ in range(500):
        lengths.update(10, 100)
    assert lengths.expected_tokens(10) == pytest.approx(100, rel=0.02)
    assert LengthEstimator(0.01).expected_tokens(1) == 1
