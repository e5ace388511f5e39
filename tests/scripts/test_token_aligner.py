"""The words of nano's speech are where an independent forced alignment of its tokens has them."""

from __future__ import annotations

import numpy as np
import pytest

from scripts.benchmarks.token_aligner import TokenAligner, Utterance, check_nano, train

TOKENS_PER_ID = {1: (10, 11), 2: (20,), 3: (30, 31, 32)}


def utterance(ids: tuple[int, ...], rng: np.random.Generator) -> tuple[Utterance, list[int]]:
    """Each id with two to six tokens of its own, silence (0) around them; and the index of each token's id."""
    tokens, path = [0, 0], [-1, -1]
    for index, text_id in enumerate(ids):
        count = int(rng.integers(2, 7))
        tokens += rng.choice(TOKENS_PER_ID[text_id], count).tolist()
        path += [index] * count
    return Utterance(ids, [*tokens, 0, 0, 0]), [*path, *[len(ids)] * 3]


def test_it_learns_which_tokens_an_id_has() -> None:
    """From utterances whose alignment is not known."""
    rng = np.random.default_rng(0)
    texts = [tuple(map(int, rng.permutation([1, 2, 3]))) for _ in range(40)]
    aligner = train([utterance(ids, rng)[0] for ids in texts])
    for ids in texts[:5]:
        spoken, path = utterance(ids, rng)
        assert aligner.align(spoken) == path


@pytest.mark.load
def test_words_are_where_they_sound() -> None:
    """In 20 sentences of both languages, three tokens apart at most; few are estimated."""
    sentences = list(check_nano())
    words = [word for _, differences in sentences for word in differences]
    assert len(sentences) == 20
    read = [word for word in words if not word.estimated]
    assert len(read) >= 0.9 * len(words)
    borders = np.abs([seconds for word in read for seconds in (word.start, word.end)])
    assert np.median(borders) <= 0.0401
    assert np.mean(borders <= 0.1201) >= 0.99


def test_the_table_is_of_these_ids() -> None:
    """The aligner in the repository knows nearly all ids that nano's sentences have."""
    aligner = TokenAligner.load()
    assert len(aligner.ids) > 200
    assert aligner.counts.shape == (len(aligner.ids) + 1, 1024)
