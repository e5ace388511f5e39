"""Compatibility characters by their plain forms, where that keeps the meaning."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from glmtts.text.characters import EMOJI

# These say more than their plain forms, so the rules of each language read them: superscripts and subscripts (m² is
# not m2), fractions (2½ is not 21/2), circled numbers (①② is not 12), Roman numerals, squared units, degree signs.
_MEANING = re.compile(
    "[\u00b2\u00b3\u00b9\u00bc-\u00be\u2070-\u209c\u2150-\u218b\u2460-\u249b\u24ea-\u24ff\u3251-\u325f\u32b1-\u32bf"
    "\u3371-\u33df\u2103\u2109\u2116\uffe5\u2025\u2026\u2032-\u2037]"
)
# Chinese punctuation is wide by nature.
_WIDE_PUNCTUATION = "，！？：；（）～"
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f\x80-\x84\x86-\x9f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffd"
    "\ue000-\uf8ff\U000f0000-\U0010ffff]"
)
# Thousands may be grouped by a thin space or a wide comma; but 100，200，300 is a list.
_THIN_THOUSANDS = re.compile(r"(?<!\d)\d{1,3}(?:[\u2009\u202f\u00a0]\d{3})+(?!\d)")
_WIDE_THOUSANDS = re.compile(r"(?<![\d,，.])\d{1,2}(?:，\d{3})+(?!\d)")
_PLAIN = {"\u2044": "/", "\u2215": "/", "\u2010": "-", "\u2011": "-", "\u2012": "-", "\u203c": "!!", "\u2049": "!?"}
_PLAIN |= {"\u02bb": "'", "\u02bc": "'", "\u02bd": "'", "\u0149": "'n"}


def clean(text: str) -> str:
    """`text` without characters that have no sound and no place: controls, zero-width, private use, replacement.

    Composed (NFC), and compatibility characters plain (NFKC) where that keeps the meaning: ﬁ, ｆｕｌｌ, １２３. Emoji
    stay (`glmtts.text.frontend.normalize` drops them).
    """
    composed = unicodedata.normalize("NFC", _INVISIBLE.sub("", text))
    if composed.isascii():
        return composed
    composed = re.sub(r"(?<=\d)[：．](?=\d)", lambda m: ":" if m[0] == "：" else ".", composed)
    composed = _THIN_THOUSANDS.sub(lambda m: re.sub(r"[^\d]", ",", m[0]), composed)
    composed = _WIDE_THOUSANDS.sub(lambda m: m[0].replace("，", ","), composed)
    return unicodedata.normalize("NFC", "".join(map(_plain, composed)))


@lru_cache(maxsize=4096)
def _plain(char: str) -> str:
    if char.isascii():
        return char
    if char in _PLAIN:
        return _PLAIN[char]
    if char in _WIDE_PUNCTUATION or _MEANING.match(char) or EMOJI.match(char):
        return char
    plain = unicodedata.normalize("NFKC", char)
    # An accent that stands alone would become a space with a combining accent.
    return char if len(plain) > 1 and plain[0] == " " else plain
