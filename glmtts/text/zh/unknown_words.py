"""Words that the dictionary lacks, such as names, by jieba's hidden Markov model.

A state is a character's place in its word, B, M, E or S for one that is a word by itself, and the word's tag. jieba
computes the likeliest states in Python, in up to 0.8 ms a character. Here the same comes from arrays.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

State = tuple[str, str]
_UNSEEN = -3.14e100
"""The log-probability by which jieba's model has a character that it never saw in a state."""


class _Model(NamedTuple):
    """Log-probabilities, with states in ascending order; -inf for what cannot follow."""

    states: list[State]
    start: NDArray[np.float64]
    transitions: NDArray[np.float64]


def words(text: str) -> Iterator[tuple[str, str]]:
    """`text`, of characters that the model knows, cut into words with their tags. Load jieba before."""
    start = 0
    states = _likeliest(text)
    for end, (place, tag) in enumerate(states, 1):
        if place in "ES" or end == len(text):
            yield text[start:end], tag if place in "ES" else states[start][1]
            start = end


def _likeliest(text: str) -> list[State]:
    """The likeliest state of each character: Viterbi's algorithm. Of equal ones the greater wins, as in jieba."""
    model = _model()
    at, emission = _emissions(text[0])
    scores = model.start[at] + emission
    steps = [(at, at)]
    for char in text[1:]:
        before = at
        at, emission = _next(before, char)
        paths = scores[:, None] + model.transitions[np.ix_(before, at)] + emission
        best = len(before) - 1 - paths[::-1].argmax(axis=0)
        scores = paths[best, np.arange(len(at))]
        steps.append((at, best))
    return _trace(steps, int(len(scores) - 1 - scores[::-1].argmax()), model.states)


def _trace(steps: list[tuple[NDArray[np.intp], NDArray[np.intp]]], last: int, states: list[State]) -> list[State]:
    """The states that lead to the one at `last`; a step has its states, and the places of those before them."""
    found: list[State] = []
    for at, best in reversed(steps):
        found.append(states[at[last]])
        last = int(best[last])
    return found[::-1]


def _next(before: NDArray[np.intp], char: str) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """The states that `char` may have behind the states `before`, and how likely it is in each."""
    reachable = _model().transitions[before].max(axis=0) > -np.inf
    at, emission = _emissions(char)
    fits = reachable[at]
    if fits.any():
        return at[fits], emission[fits]
    at = np.flatnonzero(reachable) if reachable.any() else np.arange(len(reachable))
    return at, np.array([_emission(int(state), char) for state in at])


@lru_cache(maxsize=1 << 13)
def _emissions(char: str) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """The states in which the model has seen `char`, and how likely it is in each."""
    from jieba.posseg import char_state_tab

    states = _model().states
    at = np.array(sorted(map(states.index, char_state_tab.P[char])))
    return at, np.array([_emission(int(state), char) for state in at])


def _emission(state: int, char: str) -> float:
    from jieba.posseg import emit_P

    probability: float = emit_P[_model().states[state]].get(char, _UNSEEN)
    return probability


@cache
def _model() -> _Model:
    from jieba.posseg import start_P, trans_P

    states = sorted(trans_P)
    rows = [[trans_P[before].get(state, -np.inf) for state in states] for before in states]
    return _Model(states, np.array([start_P[state] for state in states]), np.array(rows))
