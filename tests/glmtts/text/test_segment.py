"""Segments: nothing lost, ends at punctuation, bounded weight."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmtts.text.segment import segment, spoken_weight, syllable_count, units, weight

PARTS = [*"今天好的 ,.，。？!a'bé- 1<|>XN3", "<|X|>", "<|IAN2|>", "hello"]
TEXTS = st.lists(st.sampled_from(PARTS)).map("".join)


@given(TEXTS)
def test_nothing_lost(text: str) -> None:
    """Joined, the segments are the text, unless it has only spaces; none of them is blank."""
    pieces = segment(text)
    assert "".join(pieces) == ("" if not text.strip() else text)
    assert all(piece.strip() for piece in pieces)


@given(TEXTS)
def test_bounded(text: str) -> None:
    """A segment weighs at most the maximum, but for one heavier unit and for punctuation behind the cut."""
    for piece in segment(text, minimum=5, maximum=10):
        parts = [unit for unit in units(piece) if unit.strip() not in set("，。？,.!")]
        assert len(parts) <= 1 or sum(map(weight, parts)) <= 10.01


def test_ends_at_punctuation() -> None:
    """A segment ends at the first punctuation at or after the minimum."""
    text = "一二三，四五六。七八九，十"
    assert segment(text, minimum=5, maximum=60) == ["一二三，四五六。", "七八九，十"]
    assert segment(text, minimum=4, maximum=60) == ["一二三，", "四五六。", "七八九，", "十"]


def test_hard_cut_takes_punctuation() -> None:
    """A cut at the maximum never leaves punctuation at the start of the next segment."""
    assert segment("一" * 60 + "，" + "二" * 20, minimum=100) == ["一" * 60 + "，", "二" * 20]
    assert segment("一" * 61, minimum=100) == ["一" * 60, "一"]


def test_long_english_is_cut() -> None:
    """An English sentence without punctuation is cut between words, where the reference fails."""
    pieces = segment("wonderful " * 50)
    assert all(piece.strip().split() == ["wonderful"] * len(piece.split()) for piece in pieces)
    assert max(sum(map(weight, units(piece))) for piece in pieces) <= 60


def test_phoneme_syllable_is_one_unit() -> None:
    """An initial is not cut off from its final."""
    assert units("<|X|><|IAN2|><|I4|>好") == ["<|X|><|IAN2|>", "<|I4|>", "好"]


def test_units() -> None:
    """Words keep apostrophes and hyphens and the spaces behind them; digits and ideographs stand alone."""
    assert units("I can't  go, 12级x") == ["I ", "can't  ", "go", ", ", "1", "2", "级", "x"]


@pytest.mark.parametrize(
    ("word", "count"),
    [("a", 1), ("the", 1), ("make", 1), ("little", 2), ("hello", 2), ("banana", 3), ("rhythm", 1), ("hmm", 1)],
)
def test_syllables(word: str, count: int) -> None:
    """Groups of vowels count, a silent e does not, and no word has none."""
    assert syllable_count(word) == count


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("你好，世界。", 4),
        ("Hello there, world.", 4 * 0.7),
        ("……！！", 0),
        ("<|n|><|i3|>好", 1),
        ("<|HH|><|AY1|> you", 0.7),
        ("", 0),
    ],
)
def test_signs_and_spans_weigh_nothing_in_speech(text: str, expected: float) -> None:
    assert spoken_weight(text) == pytest.approx(expected)


def test_by_sentence_commas_do_not_end_a_segment() -> None:
    """Only ends of sentences do, and a short sentence takes the next one with it."""
    text = "今天天气很好，我们去公园。你呢？好。我也去。"
    assert segment(text, minimum=3, maximum=40, by_sentence=True) == [
        "今天天气很好，我们去公园。",
        "你呢？",
        "好。我也去。",
    ]


def test_by_sentence_a_long_sentence_is_cut_behind_its_last_sign_in_reach() -> None:
    text = "一" * 20 + "，" + "二" * 10 + "，" + "三" * 20 + "。"
    assert segment(text, minimum=3, maximum=40, by_sentence=True) == [
        "一" * 20 + "，" + "二" * 10 + "，",
        "三" * 20 + "。",
    ]
    assert segment("一" * 70 + "。", minimum=3, maximum=40, by_sentence=True) == ["一" * 40, "一" * 30 + "。"]


@given(st.text("一二 ab，。.?", max_size=400), st.sampled_from([3.0, 30.0]), st.sampled_from([10.0, 60.0]))
def test_by_sentence_nothing_is_lost(text: str, minimum: float, maximum: float) -> None:
    pieces = segment(text, minimum=minimum, maximum=maximum, by_sentence=True)
    assert "".join(pieces) == ("" if text.isspace() else text)
    assert all(piece.strip() for piece in pieces)
