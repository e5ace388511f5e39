"""The nano checkpoint's phonemes as text tokens: Mandarin initials and finals, English phones.

A phoneme is a special token of the text tokenizer: `<|ZH|>`, `<|IAN2|>`, and `<|en:ˈO|>` for English (a stress mark
belongs to the vowel after it). Spaces and punctuation are plain characters.
"""

from __future__ import annotations

import re
from functools import cache

from glmtts.text.frontend.g2p import phonemes_zh
from scripts.nano.data import Utterance

_TOKEN = re.compile(r"<\|[^|]+\|>|.", re.DOTALL)
# As the text front end maps punctuation, so that training sees what serving will see.
_CHINESE_MARKS = str.maketrans({"？": "?", "！": "。", "、": "，", "；": "，", "：": "，"})
_ENGLISH_MARKS = str.maketrans({"!": ".", ";": ",", ":": ","})


def english(phonemes: str) -> str:
    """The teacher's phoneme string (`həlˈO ðˈɛɹ.`) in tokens; drops marks without a pause."""
    spoken = re.sub(r"[ˈˌ]?[^\W\d_]|[ᵻᵊ]", lambda match: f"<|en:{match[0]}|>", phonemes.translate(_ENGLISH_MARKS))
    return re.sub(r"[^<>|\w:ˈˌᵻᵊ ,.?]", "", spoken)


@cache
def spoken_text(text: str) -> str:
    """A Chinese sentence in tokens, with punctuation as in the text front end."""
    return phonemes_zh(text).translate(_CHINESE_MARKS)


def of(utterance: Utterance) -> list[str]:
    """An utterance as a list of text tokens: phonemes, spaces and marks."""
    text = spoken_text(utterance.text) if utterance.lang == "zh" else english(utterance.phonemes)
    return _TOKEN.findall(text)


def plain(tokens: list[str]) -> list[str]:
    """Phonemes without stress, spaces and punctuation: the labels of a phone recogniser."""
    return [re.sub("[ˈˌ]", "", token) for token in tokens if token.startswith("<|")]
