"""How an English text is spoken: rules by kind in the order of their claims, then plain numbers and signs.

A rule takes what is its own and writes it in words, so later rules find no digits there.
"""

from __future__ import annotations

import re

from glmtts.text.en import abbreviations, addresses, arithmetic, dates, identifiers, measures, money, symbols, times
from glmtts.text.rules import Rule, apply

_RULES: tuple[Rule, ...] = (
    *symbols.BEFORE,
    *addresses.RULES,
    *abbreviations.RULES,
    *identifiers.NUMERALS,
    *dates.RULES,
    *times.RULES,
    *arithmetic.POWERS,
    *arithmetic.DIMENSIONS,
    *identifiers.RULES,
    *arithmetic.SIGNS,
    *arithmetic.NEGATIVES,
    *money.RULES,
    *measures.PRESSURES,
    *arithmetic.FRACTIONS,
    *measures.RULES,
    *dates.YEARS,
    *arithmetic.RANGES,
    *symbols.AFTER,
)


def verbalize(text: str, *, keep: str) -> str:
    """One line of English as it is spoken, in lower case; characters of the class `keep` are left alone."""
    text = apply(_RULES, symbols.plain(text)).lower()
    # An apostrophe inside a word belongs to it; anywhere else it is a quotation mark.
    text = re.sub(r"(?<![^\W\d_])'|'(?![^\W\d_])", " ", text)
    text = re.sub(rf"[^\w\s.,!?':;{keep}]|_", " ", text)
    text = re.sub(r"([.,?!:;])(?:\s*\1)+", r"\1", re.sub(r"\s+", " ", text))
    return re.sub(r"\s*([.,?!:;])\s*", r"\1 ", text).strip()
