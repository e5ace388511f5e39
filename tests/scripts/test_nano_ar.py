"""Training rows of the AR model: a prompt, earlier segments and a new one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scripts.nano import ar_rows
from scripts.nano.ar import IGNORED, Ids, collate
from scripts.nano.ar_rows import MAX_POSITIONS, TEMPO_RANGE, Example, RowSampler, degrade, join
from scripts.nano.data import Utterance

IDS = Ids(ats=1000, boa=5, eoa=6)
SPACE = 9


def example(texts: int, tokens: int) -> Example:
    """Text ids 1, 2, …; tokens 0, 1, …, distributed evenly over the text."""
    return Example(list(range(1, texts + 1)), np.arange(tokens), np.arange(tokens) * texts // tokens)


def utterance(voice: str, lang: str, number: int, seconds: float) -> Utterance:
    """An utterance whose voice shows in the ids that `read` returns."""
    return Utterance(f"{voice}{number}", voice, lang, "", "", 0, int(seconds * 24000), Path("a.pcm"))


def read(source: Utterance) -> Example:
    """12 ids and 25 tokens a second; ids of voice `a` are 100 and up, of `b` 200 and up."""
    text = [100 if source.voice == "a" else 200] * max(int(12 * source.seconds), 2)
    tokens = max(int(25 * source.seconds), 3)
    return Example(text, np.arange(tokens), np.arange(tokens) * len(text) // tokens)


def rows() -> RowSampler:
    """Two voices with sentences of 1 to 6 seconds; one has words of half a second."""
    sentences = {(voice, "en"): [utterance(voice, "en", i, 1 + i % 6) for i in range(30)] for voice in "ab"}
    short = {("a", "en"): [utterance("a", "en", 100 + i, 0.5) for i in range(30)]}
    return RowSampler(read, [SPACE], sentences, short, np.array([0.5, 0.5]))


@given(st.integers(1, 20), st.integers(20, 200), st.integers(0, 2**32 - 1))
def test_a_degraded_prompt_keeps_its_text_and_its_order(texts: int, tokens: int, seed: int) -> None:
    prompt = example(texts, tokens)
    changed = degrade(prompt, np.random.default_rng(seed))
    assert changed.text == prompt.text
    assert len(changed.speech) == len(changed.position) == changed.num_given
    assert TEMPO_RANGE[0] - 0.1 <= changed.num_given / tokens <= TEMPO_RANGE[1]
    assert (np.diff(changed.position) >= 0).all()
    assert changed.position[-1] == prompt.position[-1]


def test_given_tokens_are_inputs_and_have_no_target() -> None:
    prompt, new = example(3, 6)._replace(num_given=6), example(2, 4)
    row = join([prompt, new], [SPACE])
    assert row.text == [1, 2, 3, 9, 1, 2]
    batch = collate([row], IDS, np.random.default_rng(0), corrupted=(0, 0))
    speech = [1000, 1001, 1002, 1003, 1004, 1005, 1000, 1001, 1002, 1003]
    assert batch.inputs[0].tolist() == [1, 2, 3, 9, 1, 2, 5, *speech]
    assert batch.targets[0].tolist() == [IGNORED] * 12 + [1000, 1001, 1002, 1003, 6]
    assert batch.position[0].tolist() == [-1] * 6 + [0, 0, 1, 1, 2, 2, 4, 4, 5, 5, -1]


def test_unknown_positions_stay_unknown_in_a_row() -> None:
    unknown = example(2, 4)._replace(position=np.full(4, -1))
    assert join([example(3, 6), unknown], [SPACE]).position.tolist() == [0, 0, 1, 1, 2, 2, -1, -1, -1, -1]


@given(st.integers(0, 2**32 - 1))
def test_a_row_fits_and_ends_with_a_whole_segment(seed: int) -> None:
    row = rows().sample(np.random.default_rng(seed))
    assert row.size <= MAX_POSITIONS
    assert len(row.speech) == len(row.position) > row.num_given
    assert row.text[-1] in (100, 200)
    assert int(row.speech[-1]) + 1 >= 3


def test_rows_are_of_every_kind() -> None:
    """Single words, prompts by the speaker and by another one, degraded and truncated ones, several segments."""
    made = [rows().sample(np.random.default_rng(seed)) for seed in range(400)]
    words = [row for row in made if row.size < 30]
    assert words
    assert any(set(row.text) >= {100, 200, SPACE} for row in made)  # a prompt by another speaker
    assert any(row.num_given for row in made)
    starts = [int((row.speech == 0).sum()) for row in made]
    assert max(starts) >= 5
    long_prompts = [row for row in made if row.num_given >= ar_rows.PROMPT_SECONDS[1] * 25 * TEMPO_RANGE[0]]
    assert long_prompts
