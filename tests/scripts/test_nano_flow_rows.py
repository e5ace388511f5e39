"""Training rows of the flow: pieces of sentences, and short texts behind a prompt of their voice."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scripts.nano import features, flow, tokens
from scripts.nano.data import Utterance

WORD, SENTENCE = 9, 60
"""Tokens of the utterances."""


def utterance(work: Path, key: str, length: int) -> Utterance:
    """An utterance whose mel and tokens tell its length, in frames of 2 a token."""
    made = Utterance(key, "a", "zh", "", "", 0, 960 * length, work / "a.pcm")
    for path in (features.path_of(work, made), tokens.path_of(work, made)):
        path.parent.mkdir(exist_ok=True)
    np.savez(features.path_of(work, made), mel=np.full((2 * length, 80), length))
    np.savez(tokens.path_of(work, made), ids=np.full(length, length))
    return made


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def word(work: Path) -> Utterance:
    return utterance(work, "a-short0-0", WORD)


@pytest.fixture(scope="module")
def sentence(work: Path) -> Utterance:
    return utterance(work, "a-0-0", SENTENCE)


@pytest.mark.parametrize("frames", [200, 100, 2 * WORD, WORD])
def test_a_word_stands_behind_its_prompt(work: Path, word: Utterance, sentence: Utterance, frames: int) -> None:
    row = flow.short_row(work, word, cycle([sentence]), frames)
    assert row.prompt == max(frames - 2 * WORD, 0)
    assert row.tokens.tolist() == [SENTENCE] * row.prompt + [WORD] * (frames - row.prompt)
    assert row.mel[:, 0].tolist() == row.tokens.tolist()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(frames=st.integers(10, 400), seed=st.integers(0, 2**32 - 1))
def test_a_piece_of_sentences_has_its_length(
    work: Path, word: Utterance, sentence: Utterance, frames: int, seed: int
) -> None:
    row = flow.sentence_row(work, cycle([word, sentence]), frames, np.random.default_rng(seed))
    assert len(row.mel) == len(row.tokens) == frames
    assert row.mel[:, 0].tolist() == row.tokens.tolist()
    assert 0 <= row.prompt <= 0.6 * frames
