"""The path of attention through the text."""

from __future__ import annotations

from itertools import combinations_with_replacement

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from glmtts.models.llm.alignment import LOST_TOKENS, LOST_WEIGHT, MIN_WEIGHT, follow, monotonic_path

WEIGHTS = st.tuples(st.integers(1, 6), st.integers(1, 5)).flatmap(
    lambda shape: arrays(np.float32, shape, elements=st.floats(0, 1, width=32))
)


@given(WEIGHTS)
def test_the_best_path(weights: np.ndarray) -> None:
    """Of all that never go back, as long as the tokens: none has a larger product."""
    path = monotonic_path(weights)
    scores = np.log(np.maximum(weights, MIN_WEIGHT)).astype(np.float64)
    rows = np.arange(len(scores))
    paths = combinations_with_replacement(range(scores.shape[1]), len(scores))
    best = max(scores[rows, list(other)].sum() for other in paths)
    assert path == sorted(path)
    assert scores[rows, path].sum() >= best - 1e-4


def test_a_stray_token_does_not_move_the_others() -> None:
    """One that attends elsewhere stays between its neighbours."""
    weights = np.full((6, 6), 0.001, np.float32)
    for row, column in enumerate([0, 1, 5, 3, 4, 5]):
        weights[row, column] = 0.99
    path = monotonic_path(weights)
    assert [*path[:2], *path[3:]] == [0, 1, 3, 4, 5]
    assert 1 <= path[2] <= 3


def test_what_is_said_again_is_not_certain() -> None:
    """Four ids in order, and then two of them once more; shorter stretches off the path do no harm."""
    for again in range(LOST_TOKENS + 3):
        weights = np.full((8 + again, 4), LOST_WEIGHT / 10, np.float32)
        for row, column in enumerate([0, 0, 1, 1, 2, 2, 3, 3] + [2] * again):
            weights[row, column] = 0.9
        alignment = follow(weights)
        assert alignment.path[:6] == [0, 0, 1, 1, 2, 2]
        assert alignment.certain >= 2
        if again <= LOST_TOKENS - 2:
            assert alignment.certain == 4
    assert follow(np.eye(4, dtype=np.float32).repeat(3, 0)).certain == 4
