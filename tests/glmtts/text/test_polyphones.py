"""Polyphones in context, by the cases of polyphones.tsv, and the rule table's format."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmtts.text.zh import pinyin, polyphones

CASES = Path(__file__).with_name("polyphones.tsv")
MISSES = 3
"""How many of the cases may be wrong: those that only the sense of a whole sentence could decide."""


def _cases() -> list[tuple[str, int, set[str]]]:
    """Sentence, index of the character meant, and its right readings."""
    lines = [line for line in CASES.read_text("utf-8").splitlines() if not line.startswith("#")]
    cases: list[tuple[str, int, set[str]]] = []
    for line in lines:
        char, marked, right = line.split("\t")
        index = marked.index("[")
        sentence = marked.replace("[", "").replace("]", "")
        assert sentence[index] == char, line
        cases.append((sentence, index, set(right.split("|"))))
    return cases


def test_cases() -> None:
    """The readings of all cases are right, but for a few."""
    wrong = [
        (sentence, index, spoken, right)
        for sentence, index, right in _cases()
        if (spoken := pinyin.readings(sentence)[index]) not in right
    ]
    assert len(wrong) <= MISSES, wrong


def test_cases_have_several_senses() -> None:
    """The cases cover each common polyphone in more than one reading."""
    senses: dict[str, set[str]] = {}
    for sentence, index, right in _cases():
        senses.setdefault(sentence[index], set()).update(right)
    for char in "得长还地着了行重乐为都好少分更发数种中相当间空干教藏朝调传倒恶角觉强曲塞散省似宿挑吐应扎涨转":
        assert len(senses[char]) > 1, char
    assert Counter(len(found) > 1 for found in senses.values())[True] > 200


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("重慶", ["chong2", "qing4"]),
        ("睡覺", ["shui4", "jiao4"]),
        ("理髮店", ["li3", "fa4", "dian4"]),
        ("乾坤", ["qian2", "kun1"]),
        ("餅乾", ["bing3", "gan1"]),
        ("三隻貓", ["san1", "zhi1", "mao1"]),
        ("儘管孇", ["jin3", "guan3", "shuang1"]),
        ("看著這裡", ["kan4", "zhe5", "zhe4", "li3"]),
        ("嗯,A1!\U00030000", ["en1", "", "", "", "", ""]),
    ],
)
def test_readings(text: str, spoken: list[str]) -> None:
    """Traditional characters have the readings of simplified ones; what isn't in the dictionaries has none."""
    assert pinyin.readings(text) == spoken


def test_context_reaches_beyond_the_run() -> None:
    """A clause ends at punctuation, and digits count like numerals."""
    assert pinyin.readings("书还，走。")[1] == "huan2"
    assert pinyin.readings("3只猫")[1] == "zhi1"


def test_a_run_without_punctuation_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """jieba never gets more than 100 characters, and no reading is lost."""
    lengths: list[int] = []
    segmenter, frequencies = pinyin._segmenter()

    def recording(text: str) -> list[Any]:
        lengths.append(len(text))
        return segmenter(text)

    monkeypatch.setattr(pinyin, "_segmenter", lambda: (recording, frequencies))
    assert pinyin.readings("银行" * 125) == ["yin2", "hang2"] * 125
    assert lengths == [100, 100, 50]


def test_cost_is_linear() -> None:
    """Each character sees a window of fixed size, however long the text is."""
    windows = polyphones.Windows("中" * 5000, "n" * 5000, list(range(5000)))
    text, tags = windows.at(2500)
    assert len(text) == len(tags) == 2 * polyphones.REACH + 1
    assert text[polyphones.REACH] == tags[polyphones.REACH] == "_"


@given(st.text(st.sampled_from("中国重慶得地着了长还,。 A1_\U00030000\u2e80\uf900\n"), max_size=30))
def test_one_reading_a_character(text: str) -> None:
    """Any text has as many readings as characters, and only Chinese characters have one."""
    spoken = pinyin.readings(text)
    assert len(spoken) == len(text)
    assert all(char > "\u2e00" for char, one in zip(text, spoken, strict=True) if one)


@pytest.mark.parametrize("text", ["中" * 5, "\u9fa5\u4e42\u9f98"])
def test_what_makes_no_words_stands_alone(text: str) -> None:
    """Repeated characters and those that jieba's model lacks are single words: it would spend seconds on many."""
    assert [word for word, _ in pinyin._words(text)] == list(text)
