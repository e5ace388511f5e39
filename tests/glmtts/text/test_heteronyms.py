"""English heteronyms in context, by the cases of heteronyms.tsv, and ARPAbet for phone tokens."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmtts.text.en import arpabet, heteronyms
from glmtts.text.en.lexicon import WORD
from glmtts.text.frontend.g2p import G2P

CASES = Path(__file__).with_name("heteronyms.tsv")
LEXICON = Path(__file__).resolve().parents[3] / "checkpoints" / "nano" / "frontend" / "lexicon_en.json.gz"
MISSES = 4
"""How many of the cases may be wrong: those that only the sense of a sentence could decide."""


def _spoken(g2p: G2P, sentence: str, index: int) -> str:
    """What is said for the unit that begins at `index`."""
    at = 0
    for unit in g2p.units(sentence):
        if at == index:
            return unit.spoken
        at += len(unit.text)
    raise AssertionError(f"{sentence}: expected a unit at {index}")


def test_cases() -> None:
    """With the lexicon in the repository, all cases are right but for a few."""
    g2p = G2P({}, frozenset(), json.loads(gzip.decompress(LEXICON.read_bytes())))
    wrong: list[tuple[str, str]] = []
    for line in CASES.read_text("utf-8").splitlines():
        if line.startswith("#"):
            continue
        word, marked, right = line.split("\t")
        index = marked.index("[")
        assert marked[index + 1 :].lower().startswith(f"{word}]"), line
        spoken = _spoken(g2p, marked.replace("[", "").replace("]", ""), index)
        if not any(arpabet.same(spoken, one) for one in right.split("|")):
            wrong.append((marked, spoken))
    assert len(wrong) <= MISSES, wrong


def test_lexicon_in_another_alphabet_stays() -> None:
    """A lexicon whose tokens aren't those of the table's alphabet keeps its own pronunciation."""
    g2p = G2P({}, frozenset(), {"read": "<|R|><|IY1|><|D|>", "had": "<|HH|>", "i": "<|AY1|>"})
    assert g2p("I had read") == "<|AY1|> <|HH|> <|R|><|IY1|><|D|>"
    assert g2p.pronunciation("I had read")[-1] == ("read", "R IY1 D")


def test_word_outside_the_table() -> None:
    """A word that isn't a heteronym has no reading of its own here."""
    assert heteronyms.reading("a cat sat", 2, 5) is None


@pytest.mark.parametrize(
    ("tokens", "phones"),
    [
        ("<|en:ɹ|><|en:ˈɛ|><|en:d|>", "R EH1 D"),
        ("<|en:w|><|en:ˈɔ|><|en:T|><|en:ə|><|en:ɹ|>", "W AO1 T ER0"),
        ("<|en:b|><|en:ˈɜ|><|en:ɹ|><|en:d|>", "B ER1 D"),
        ("<|en:ə|><|en:ɹ|><|en:ˈW|><|en:n|><|en:d|>", "AH0 R AW1 N D"),
        ("<|AH1|><|S|>", "AH1 S"),
    ],
)
def test_from_tokens(tokens: str, phones: str) -> None:
    """Phone tokens in ARPAbet: flaps are T, a schwa and an R are ER0; other alphabets keep their names."""
    assert arpabet.from_tokens(tokens) == phones


_VOWELS = ["AA", "AE", "AH", "AO", "AW", "AY", "EH", "EY", "IH", "IY", "OW", "OY", "UH", "UW"]
_CONSONANTS = [
    "B",
    "CH",
    "D",
    "DH",
    "F",
    "G",
    "HH",
    "JH",
    "K",
    "L",
    "M",
    "N",
    "NG",
    "P",
    "S",
    "SH",
    "T",
    "TH",
    "V",
    "W",
]
_PHONES = [*_CONSONANTS, "Y", "Z", "ZH", *(f"{vowel}{stress}" for vowel in _VOWELS for stress in "012")]


@given(st.lists(st.sampled_from(_PHONES), min_size=1, max_size=12).map(" ".join))
def test_tokens_keep_phones(phones: str) -> None:
    """Phones survive the way to tokens and back."""
    assert arpabet.from_tokens(arpabet.to_tokens(phones)) == phones


def test_same_ignores_reduced_vowels() -> None:
    """Pronunciations that differ in unstressed vowels alone count as one; those with another stress don't."""
    assert arpabet.same("R IH0 K AO1 R D", "R AH0 K AO1 R D")
    assert arpabet.same("HH AH0 L OW1", "HH EH0 L OW1")
    assert not arpabet.same("R EH1 K ER0 D", "R IH0 K AO1 R D")
    assert not arpabet.same("R EH1 D", "R IY1 D")


def test_every_word_of_the_table_is_written_in_phones() -> None:
    """All pronunciations of the table can be written as tokens of the lexicon in the repository."""
    known = "".join(json.loads(gzip.decompress(LEXICON.read_bytes())).values())
    for word, lines in heteronyms._table().items():
        assert WORD.fullmatch(word)
        for phones, _ in lines:
            tokens = arpabet.to_tokens(phones)
            assert all(f"<|{token}" in known for token in tokens.split("<|")[1:]), (word, phones)
