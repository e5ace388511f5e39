"""Words that the dictionary lacks: as jieba finds them, at a bounded cost for each character."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmtts.text.zh import pinyin

MANY_STATES = "一大中方明下光日时上公天年地小平正行内多"
"""The characters that may be in the most states, so that jieba takes longest for them."""


@cache
def _jieba() -> Any:
    pinyin.warm()
    import jieba
    import jieba.posseg

    words = jieba.Tokenizer()
    words.FREQ, words.total = words.gen_pfdict(words.get_dict_file())
    words.initialized = True
    return jieba.posseg.POSTokenizer(words)


@given(st.text(st.sampled_from(MANY_STATES + "琪薛颖鑫王李了着过的们不"), min_size=1, max_size=60))
def test_as_jieba(text: str) -> None:
    """Words and tags are those of jieba's own search."""
    assert list(pinyin._segmented(text)) == [(pair.word, pair.flag) for pair in _jieba().lcut(text)]


@pytest.mark.parametrize("text", ["欧阳靖薇和司马懿昀去了", "一明" * 50, "王" * 3 + "薛"])
def test_names(text: str) -> None:
    """Names, and the pair of characters that costs most."""
    assert list(pinyin._segmented(text)) == [(pair.word, pair.flag) for pair in _jieba().lcut(text)]
