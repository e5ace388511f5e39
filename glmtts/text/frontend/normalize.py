"""Written text to spoken text: numbers, units, dates and signs become words of the text's language.

`glmtts.text.zh.verbalize` and `glmtts.text.en.verbalize` hold the rules. Spans `<|…|>` pass through untouched.
"""

from __future__ import annotations

import re

from glmtts.text.characters import EMOJI, PUNCTUATION, SPECIAL_SPAN, has_chinese, simplified
from glmtts.text.compatibility import clean
from glmtts.text.en.verbalize import verbalize as verbalize_english
from glmtts.text.language import LANGUAGES, Language
from glmtts.text.lines import break_lines
from glmtts.text.zh.verbalize import verbalize as verbalize_chinese

__all__ = ["clean", "normalize", "speakable", "warm"]

# A run of spans travels through the rules as one private-use character, which they copy.
_FIRST_STANDIN = 0xF0000
_STANDIN = "\U000f0000-\U000fffff"
_SPANS = re.compile(f"(?:{SPECIAL_SPAN.pattern})+")

_LINE_ENDS = ".!?;:：。！？；，"


def normalize(text: str, language: Language | None = None) -> str:
    """`text` as it is spoken, in lower case, ending in `。` `.` or a question mark; "" when nothing is left.

    language: "zh" or "en" says how numbers and signs are read; None reads a text with a Chinese character as Chinese
    and any other as English. In a Chinese text a stretch of English is read as English, its numbers too.

    Normalising twice gives the same as once, but for the end of a piece that was cut out. Raises ValueError for
    another language.
    """
    if language is not None and language not in LANGUAGES:
        raise ValueError(f"language: expected one of {', '.join(LANGUAGES)}, got {language!r}")
    spans: list[str] = []

    def stand_in(match: re.Match[str]) -> str:
        spans.append(match[0])
        return chr(_FIRST_STANDIN + len(spans) - 1)

    text = _prepare(_SPANS.sub(stand_in, clean(text)))
    if language == "zh" or (language is None and has_chinese(text)):
        text = verbalize_chinese(text, keep=_STANDIN)
    else:
        text = verbalize_english(text, keep=_STANDIN)
    text = _end(_punctuate(text))
    return re.sub(f"[{_STANDIN}]", lambda match: spans[ord(match[0]) - _FIRST_STANDIN], text)


def speakable(text: str) -> bool:
    """Whether a normalised text has anything to say: a letter, a digit or a phoneme."""
    return any(char.isalnum() for char in text)


def warm() -> None:
    """Loads the dictionary of traditional characters, so that no request waits for it."""
    simplified("")


def _prepare(text: str) -> str:
    """One line without emoji; every former line ends in punctuation."""
    text = re.sub(r"([^\w\s])\1{4,}", r"\1\1\1\1", EMOJI.sub("", break_lines(text)))
    lines = [line.strip() for line in text.splitlines()]
    ended = [_end_line(_MARKER.sub(r"\1。", line)) for line in lines if line]
    return "".join(ended) if has_chinese("".join(ended)) else " ".join(ended)


_MARKER = re.compile(r"^(\d+)\. ")
"""A numbered list's marker, whose dot would read as a decimal point or an abbreviation."""


def _end_line(line: str) -> str:
    if line[-1] in _LINE_ENDS:
        return line
    return line + ("。" if has_chinese(line) else ". ")


def _punctuate(text: str) -> str:
    """Spaces only between two words or a sign and a word; of adjacent signs the last; `!` becomes a full stop."""
    text = re.sub(r"\s+", " ", text)
    word = rf"[^\W_\u2e80-\u9fff{_STANDIN}]"
    kept = rf"(?<={word}) (?=[{_STANDIN}]|{word})|(?<=[{_STANDIN}.,!?;:]) (?={word})|(?<=[.,!?;:]) (?=[{_STANDIN}])"
    text = re.sub(kept, "\0", text).replace(" ", "").replace("\0", " ")
    text = re.sub(r"([?？])[!！?？]+", r"\1", text)
    text = re.sub(rf"[{PUNCTUATION}](?=[{PUNCTUATION}])", "", text)
    return text.replace("#", "").replace("！", "。").replace("!", ".").strip()


def _end(text: str) -> str:
    if not text or text[-1] in "？?":
        return text
    stem = text[:-1] if text[-1] in PUNCTUATION else text
    return stem + ("。" if has_chinese(text) else ".")
