"""Classes of characters that the text front end tells apart, and simplified characters for traditional ones."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import cache

SPECIAL_SPAN = re.compile(r"<\|([^|<>]*)\|>")
"""What looks like a special token; group 1 is its name."""

HANZI = (
    "\u4e00-\u9fff\u3400-\u4dbf\U00020000-\U0002a6df\U0002a700-\U0002ebef\U00030000-\U000323af"
    "\uf900-\ufaff\U0002f800-\U0002fa1f\u2e80-\u2eff"
)
"""Chinese ideographs as the inside of a regular expression's class: unified, extensions, compatibility, radicals."""

PUNCTUATION = "。？！；：、.?!;:，,"
"""The signs that may end a segment."""

_ONE_HANZI = re.compile(f"[{HANZI}]")
_COMMON_HANZI = re.compile("[\u4e00-\u9fff]")

# Pictographs, their modifiers, joiners and flags; not the digits that a keycap sign turns into an emoji.
EMOJI = re.compile(
    "[\u00ae\u203c\u2049\u20e3\u2122\u2139\u231a-\u2328\u23cf\u23e9-\u23f3\u23f8-\u23fa\u24c2\u25aa\u25ab"
    "\u25b6\u25c0\u25fb-\u25fe\u2600-\u2775\u2794-\u27bf\u2934\u2935\u2b05-\u2b07\u2b1b\u2b1c\u2b50\u2b55\u3030\u303d\u3297\u3299"
    "\ufe0e\ufe0f\u200d\U0001f000-\U0001faff\U000e0020-\U000e007f]+"
)


def is_hanzi(char: str) -> bool:
    """Whether one character is a Chinese ideograph of any block."""
    return _ONE_HANZI.match(char) is not None


def has_chinese(text: str) -> bool:
    """Whether a text counts as Chinese: one common ideograph suffices, as in the model's training."""
    return _COMMON_HANZI.search(text) is not None


def latin_letters(char: str) -> str:
    """A Latin letter without accents, in ASCII: é is e, ß is ss. "" if it has no such form, or is no Latin letter."""
    if char in _UNDECOMPOSED:
        return _UNDECOMPOSED[char]
    plain = unicodedata.normalize("NFKD", char)[0]
    return plain if plain.isascii() and plain.isalpha() else ""


_UNDECOMPOSED = {
    "ß": "ss", "ẞ": "SS", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "đ": "d", "Đ": "D",
    "ð": "th", "Ð": "Th", "þ": "th", "Þ": "Th", "ł": "l", "Ł": "L", "ħ": "h", "Ħ": "H", "ı": "i",
}  # fmt: skip
"""Latin letters that Unicode doesn't decompose."""


def simplified(text: str) -> str:
    """`text` in simplified Chinese: 重慶 becomes 重庆; a text that is simplified already stays as it is.

    The result has the same length: its character i stands for character i of `text`. Context decides where one
    traditional character has two simplified ones (頭髮 头发, 皇后 stays), so pass whole words or sentences.
    """
    plain, taiwan = _converters()
    result = plain(text)
    if result == text:
        return text
    # Taiwan's 著 is also the particle 着. In a simplified text it's always 著 (显著), hence only now.
    result = taiwan(text)
    return result if len(result) == len(text) else "".join(map(plain, text))


@cache
def _converters() -> tuple[Callable[[str], str], Callable[[str], str]]:
    """OpenCC's conversions to simplified Chinese, from plain traditional characters and from those of Taiwan."""
    import opencc

    return opencc.OpenCC("t2s").convert, opencc.OpenCC("tw2s").convert
