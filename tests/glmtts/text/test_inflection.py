"""Forms of English words that the lexicon lacks are read from their stems."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest

from glmtts.text.en import arpabet
from glmtts.text.en.inflection import inflected
from glmtts.text.frontend.g2p import G2P

LEXICON = json.loads(
    gzip.decompress(
        (Path(__file__).resolve().parents[3] / "checkpoints" / "nano" / "frontend" / "lexicon_en.json.gz").read_bytes()
    )
)
EVERY = 10
"""Of the forms that the lexicon has, each of so many is tried without its own entry."""


@pytest.mark.parametrize(
    ("word", "phones"),
    [
        ("including", "IH0 N K L UW1 D IH0 NG"),
        ("libraries", "L AY1 B R EH2 R IY0 Z"),
        ("skipping", "S K IH1 P IH0 NG"),
        ("stating", "S T EY1 T IH0 NG"),
        ("shipped", "SH IH1 P T"),
        ("copied", "K AA1 P IY0 D"),
        ("permitting", "P ER0 M IH1 T IH0 NG"),
        ("wider", "W AY1 D ER0"),
        ("natively", "N EY1 T IH0 V L IY0"),
        ("rewind", "R IY0 W AY1 N D"),
        ("unpacked", "AH2 N P AE1 K T"),
    ],
)
def test_forms(word: str, phones: str) -> None:
    """A form that isn't in the lexicon sounds as its stem with its ending, and is not spelled."""
    assert word not in LEXICON
    assert arpabet.same(G2P({}, frozenset(), LEXICON).pronunciation(word)[0][1], phones)


def test_forms_that_the_lexicon_has() -> None:
    """Of the forms that the lexicon has, nine of ten sound the same when they are made of their stems."""
    right = total = 0
    endings = re.compile(r"[a-z]{3,}(?:ing|ed|er|est|ly|ness|less|ful|ment|able|ies)")
    for word in sorted(filter(endings.fullmatch, LEXICON))[::EVERY]:
        tokens = inflected(word, lambda other, word=word: None if other == word else LEXICON.get(other))  # type: ignore[misc]
        if tokens is not None:
            total += 1
            right += arpabet.same(arpabet.from_tokens(tokens), arpabet.from_tokens(LEXICON[word]))
    assert total > 1000
    assert right >= 0.9 * total


def test_an_unknown_word_has_no_form() -> None:
    """Endings alone make no word."""
    assert inflected("zqxing", LEXICON.get) is None
    assert inflected("ed", LEXICON.get) is None
