"""The languages that are read, and which of them a text is in."""

from __future__ import annotations

import re
from typing import Literal, get_args

from glmtts.text.characters import has_chinese, latin_letters

Language = Literal["zh", "en"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
_TAG = re.compile("<[^<>]*>")
NAMES: dict[Language, str] = {"zh": "Chinese", "en": "English"}


def language_of(text: str) -> Language | None:
    """The language of a text by its characters: Chinese with one ideograph, else English with one Latin letter.

    None if it has neither, as "10:00", "-5℃" and "1+1=2". Tags `<…>` and spans `<|…|>` don't count.
    """
    text = _TAG.sub("", text)
    if has_chinese(text):
        return "zh"
    return "en" if any(map(latin_letters, text)) else None
