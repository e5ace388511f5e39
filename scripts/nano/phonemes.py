"""The phonemes that the nano checkpoint speaks, as text tokens: Mandarin initials and finals, English phones.

A phoneme is a special token of the text tokenizer: `<|ZH|>`, `<|IAN2|>`, and `<|en:ˈO|>` for English (the stress
mark joins the vowel that follows). Spaces and punctuation are plain characters. Knows nothing about ids.
"""

from __future__ import annotations

import re
from functools import cache

from glmtts.text.g2p import phonemes_zh
from scripts.nano.data import Utterance

_TOKEN = re.compile(r"<\|[^|]+\|>|.", re.DOTALL)
# What the text front end makes of the marks, so that training reads what serving will read.
_CHINESE_MARKS = str.maketrans({"？": "?", "！": "。", "、": "，", "；": "，", "：": "，"})
_ENGLISH_MARKS = str.maketrans({"!": ".", ";": ",", ":": ","})


def english(phonemes: str) -> str:
    """The teacher's phoneme string (`həlˈO ðˈɛɹ.`) in tokens; marks that are not spoken fall away."""
    spoken = re.sub(r"[ˈˌ]?[^\W\d_]|[ᵻᵊ]", lambda match: f"<|en:{match[0]}|>", phonemes.translate(_ENGLISH_MARKS))
    return re.sub(r"[^<>|\w:ˈˌᵻᵊ ,.?]", "", spoken)


@cache
def spoken_text(text: str) -> str:
    """A Chinese sentence in tokens; its marks as the text front end would leave them."""
    return phonemes_zh(text).translate(_CHINESE_MARKS)


def of(utterance: Utterance) -> list[str]:
    """An utterance as a list of text tokens: phonemes, spaces and marks."""
    text = spoken_text(utterance.text) if utterance.lang == "zh" else english(utterance.phonemes)
    return _TOKEN.findall(text)


def plain(tokens: list[str]) -> list[str]:
    """Phonemes alone, without stress: what a recogniser of phones is asked for."""
    return [re.sub("[ˈˌ]", "", token) for token in tokens if token.startswith("<|")]
