"""Characters of other languages: what is left out, and that every other letter and digit is read."""

from __future__ import annotations

import sys
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmtts.text.characters import EMOJI, is_hanzi, latin_letters
from glmtts.text.foreign import GREEK_NAMED, leave_out, writing_systems
from glmtts.text.frontend.normalize import normalize, speakable
from glmtts.text.language import LANGUAGES, Language

SPOKEN = ["你们", "好", "hello", "World", "café", "。", ", ", " "]
FOREIGN = ["Привет", "안녕", "สวัสดี", "नमस्ते", "ありがとう", "カタカナ", "ｺﾝﾆﾁﾊ", "γάτα", "\u0645\u0631", "५", "ə"]
DROPPED = ["😀", "👍🏽", "👩‍👧", "\u200b", "\ufeff", "\x07", "♥", "←", "∇", "«", "؟"]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "kept", "foreign"),
    [
        ("你好，안녕。", "你好， 。", "안녕"),
        ("say привет, мир!", "say  ,  !", "приветмир"),
        ("你好こんにちは世界", "你好 世界", "こんにちは"),
        ("今天天气很好。ありがとう。", "今天天气很好。 。", "ありがとう"),
        ("日本語のテキスト、OK", " 、OK", "日本語のテキスト"),
        ("我爱优の良品", "我爱优 良品", "の"),
        ("α粒子, 5 μΩ, Δt, β-blocker", "α粒子, 5 μΩ, Δt, β-blocker", ""),
        ("<|en:ə|><|en:ˈO|> əə", "<|en:ə|><|en:ˈO|>  ", "əə"),
        ("η γάτα is a cat", "    is a cat", "ηγάτα"),
        ("ﬁne ＡＢＣ １２３ ① Ⅲ ½ ㎡ ℃ café straße", "ﬁne ＡＢＣ １２３ ① Ⅲ ½ ㎡ ℃ café straße", ""),
    ],
)
def test_leave_out(text: str, kept: str, foreign: str) -> None:
    """Letters, marks and digits of other writing systems are left out."""
    assert leave_out(text) == (kept, foreign)


def test_ideographs_of_a_chinese_text_stay() -> None:
    """Where the language is known, kana does not make its neighbours Japanese."""
    assert leave_out("大人の味", "zh") == ("大人 味", "の")
    assert leave_out("大人の味") == (" ", "大人の味")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("한국어", "Hangul"),
        ("日本語の", "Hiragana"),
        ("ｺﾝ ไทย", "Katakana, Thai"),
        ("γάτα", "Greek"),
        ("नमस्ते", "Devanagari"),
    ],
)
def test_writing_systems(text: str, names: str) -> None:
    """The names are those of Unicode, in English."""
    assert writing_systems(leave_out(text)[1]) == names


@given(st.lists(st.sampled_from([(piece, pool) for pool in (SPOKEN, FOREIGN, DROPPED) for piece in pool])), st.data())
def test_every_character_is_accounted_for(pieces: list[tuple[str, list[str]]], data: st.DataObject) -> None:
    """In any mixture what is foreign is counted, what is not is spoken, and leaving out again changes nothing."""
    language: Language | None = data.draw(st.sampled_from([None, *LANGUAGES]))
    text = " ".join(piece for piece, _ in pieces)
    kept, foreign = leave_out(text, language)
    assert foreign == "".join(piece for piece, pool in pieces if pool is FOREIGN)
    assert leave_out(kept, language) == (kept, "")
    spoken = normalize(kept, language)
    words = [piece.strip().lower() for piece, pool in pieces if pool is SPOKEN and piece.strip().isalpha()]
    assert "".join(filter(str.isalpha, spoken)) == "".join(words)


def test_every_letter_and_digit_is_read_or_counted() -> None:
    """Of all of Unicode: what is not foreign becomes ideographs or Latin letters in both languages."""
    rest = [
        char
        for char in map(chr, range(sys.maxunicode + 1))
        if char.isalnum() and not is_hanzi(char) and not EMOJI.match(char) and not leave_out(char)[1]
    ]
    rest = [char for char in rest if char not in "ʻʼʽ"]  # these are apostrophes
    assert len(rest) > 1000
    assert [pair for pair in product(rest, LANGUAGES) if not _is_read(normalize(*pair))] == []


def _is_read(spoken: str) -> bool:
    """Whether a normalised text has something to say, all of it ideographs and Latin letters."""
    return speakable(spoken) and all(
        is_hanzi(letter) or letter in "〇々" or latin_letters(letter) for letter in spoken if letter.isalnum()
    )


def test_greek_letters_are_read_by_name() -> None:
    """Each Greek letter that is not foreign has a name in both languages."""
    for letter, language in product(GREEK_NAMED, LANGUAGES):
        assert letter not in normalize(letter, language)
