"""Roman numerals as numbers."""

from __future__ import annotations

import re
import unicodedata

NUMERAL = r"[IVXLC]{1,9}"
"""What may be a numeral below 400: `value` decides."""

SIGNS = "[Ⅰ-ⅿ]"
"""The characters that are Roman numerals and nothing else."""

_VALID = re.compile(r"(?:M{0,3})(?:C[MD]|D?C{0,3})(?:X[CL]|L?X{0,3})(?:I[XV]|V?I{0,3})")
_VALUES = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}


def value(numeral: str) -> int | None:
    """The number that a numeral writes, or None when it is none: "XIV" is 14, "IIX" is none.

    L, C, D and M alone are letters: "Type C", "CD".
    """
    letters = unicodedata.normalize("NFKC", numeral).upper()
    if not set(letters) & set("IVX") or not _VALID.fullmatch(letters):
        return None
    values = [_VALUES[letter] for letter in letters]
    signs = [-1 if one < following else 1 for one, following in zip(values, [*values[1:], 0], strict=True)]
    return sum(sign * one for sign, one in zip(signs, values, strict=True))
