"""What the AR model is trained on: rows of a prompt and what follows it."""

from __future__ import annotations

from itertools import count
from types import SimpleNamespace
from typing import cast

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scripts.nano.ar import IGNORED, TEMPOS, Example, Examples, Ids, collate, join, prompt, rough
from scripts.nano.data import Utterance

IDS = Ids(ats=1000, boa=5, eoa=6)


def example(texts: int, tokens: int) -> Example:
    """Text ids 1, 2, …; tokens 0, 1, …, spread evenly over the text."""
    return Example(list(range(1, texts + 1)), np.arange(tokens), np.arange(tokens) * texts // tokens)


@given(st.integers(1, 20), st.integers(20, 200), st.integers(0, 2**32 - 1))
def test_a_rough_prompt_keeps_its_text_and_its_order(texts: int, tokens: int, seed: int) -> None:
    prompt = example(texts, tokens)
    changed = rough(prompt, np.random.default_rng(seed))
    assert changed.text == prompt.text
    assert len(changed.speech) == len(changed.place) == changed.given
    assert TEMPOS[0] - 0.1 <= changed.given / tokens <= TEMPOS[1]
    assert (np.diff(changed.place) >= 0).all()
    assert changed.place[-1] == prompt.place[-1]


def test_what_is_given_is_an_input_and_no_target() -> None:
    prompt, new = example(3, 6)._replace(given=6), example(2, 4)
    row = join([prompt, new], [9])
    assert row.text == [1, 2, 3, 9, 1, 2]
    rows = collate([row], IDS, np.random.default_rng(0), corrupted=(0, 0))
    speech = [1000, 1001, 1002, 1003, 1004, 1005, 1000, 1001, 1002, 1003]
    assert rows.inputs[0].tolist() == [1, 2, 3, 9, 1, 2, 5, *speech]
    assert rows.targets[0].tolist() == [IGNORED] * 12 + [1000, 1001, 1002, 1003, 6]
    assert rows.place[0].tolist() == [-1] * 6 + [0, 0, 1, 1, 2, 2, 4, 4, 5, 5, -1]


def test_a_prompt_is_one_or_two_utterances_in_a_row_of_one_voice() -> None:
    """Rough ones are given as a whole, the others are learnt like the rest of their row."""
    known = cast("Examples", SimpleNamespace(of=lambda size: example(size, 4 * size)))
    made = []
    for seed in range(100):
        voice = (cast("Utterance", size) for size in count(3))
        made.append(prompt(known, voice, [9], np.random.default_rng(seed)))
    one, two = [1, 2, 3], [1, 2, 3, 9, 1, 2, 3, 4]
    assert {tuple(row.text) for row in made} == {tuple(one), tuple(two)}
    assert {row.given for row in made if row.given in (0, len(row.speech))} > {0}
    assert all(row.given in (0, len(row.speech)) for row in made)
