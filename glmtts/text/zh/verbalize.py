"""How a Chinese text is spoken: rules by kind in the order of their claims, then plain numbers and signs.

A rule takes what is its own and writes it in words, so later rules find no digits there. The order matters most for
signs with several meanings: the hyphen is a minus, telephone number, date, range, score, subtraction or name.
"""

from __future__ import annotations

import re

from glmtts.text.rules import Rule, apply_simplified, rule
from glmtts.text.zh import (
    addresses,
    arithmetic,
    dates,
    hyphens,
    identifiers,
    latin,
    measures,
    money,
    numbers,
    symbols,
    times,
)

_THOUSANDS = rule(
    r"(?<![\d,])\d{1,3}(?:,\d{3})+(?!\d|,\d)|(?<![\d,] )(?<![\d,])\d{1,2}(?: \d{3}){2,9}(?![ ,]?\d)",
    lambda m: re.sub("[, ]", "", m[0]),
)
_CIRCLED = rule("[①-⒛⓪㉑-㉟㊱-㊿❶-❿➀-➓]", lambda m: numbers.circled(m[0]))

_RULES: tuple[Rule, ...] = (
    *symbols.VARIANTS,
    *addresses.RULES,
    _CIRCLED,
    _THOUSANDS,
    *latin.NUMERALS,
    *dates.RULES,
    *identifiers.RULES,
    *hyphens.SCORES,
    *times.RULES,
    *identifiers.GROUPED,
    *money.RULES,
    *arithmetic.POWERS,
    *measures.PERCENTAGES,
    *latin.NAMES,
    *hyphens.NEGATIVES,
    *measures.RULES,
    *arithmetic.FRACTIONS,
    *arithmetic.SIGNS,
    *hyphens.RANGES,
    *numbers.RULES,
    *symbols.RULES,
)


def verbalize(text: str, *, keep: str) -> str:
    """One line of Chinese as it is spoken, in lower case; characters of the class `keep` are left alone."""
    return apply_simplified(_RULES, latin.read_english(text, keep)).lower()
