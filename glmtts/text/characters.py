"""Classes of characters that the text front end tells apart. Knows nothing about what is done with them."""

from __future__ import annotations

import re

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
    "[\u00a9\u00ae\u203c\u2049\u20e3\u2122\u2139\u231a-\u2328\u23cf\u23e9-\u23f3\u23f8-\u23fa\u24c2\u25aa\u25ab"
    "\u25b6\u25c0\u25fb-\u25fe\u2600-\u27bf\u2934\u2935\u2b05-\u2b07\u2b1b\u2b1c\u2b50\u2b55\u3030\u303d\u3297\u3299"
    "\ufe0e\ufe0f\u200d\U0001f000-\U0001faff\U000e0020-\U000e007f]+"
)


def is_hanzi(char: str) -> bool:
    """Whether one character is a Chinese ideograph of any block."""
    return _ONE_HANZI.match(char) is not None


def has_chinese(text: str) -> bool:
    """Whether a text counts as Chinese: one common ideograph suffices, as in the model's training."""
    return _COMMON_HANZI.search(text) is not None
