"""Written text to spoken text: numbers, units, dates and signs become words of the text's language.

One Chinese character makes a text Chinese; any other is read as English. Spans `<|…|>` pass through untouched.
The grammar for plain cases is wetext's (finite-state transducers); `chinese` and `english` take first what it
would misread. Knows nothing about segments, phonemes or ids.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from functools import cache

from glmtts.text import chinese, english
from glmtts.text.characters import EMOJI, PUNCTUATION, SPECIAL_SPAN, has_chinese

Verbalizer = Callable[[str], str]
"""A grammar that writes the numbers in a text out in words."""

# A run of spans travels through the grammars as one private-use character, which they copy.
_FIRST_STANDIN = 0xF0000
_STANDIN = "\U000f0000-\U000fffff"
_SPANS = re.compile(f"(?:{SPECIAL_SPAN.pattern})+")

_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f\x80-\x84\x86-\x9f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffd"
    "\ue000-\uf8ff\U000f0000-\U0010ffff]"
)
_PIECE = 250
_SENTENCE = re.compile(r".*(?:[。！？；!?]|[a-z]{4}\.(?= ))", re.DOTALL)
_PAUSE = re.compile(r".*[，、 ]", re.DOTALL)
_LINE_ENDS = ".!?;:：。！？；，"


def clean(text: str) -> str:
    """`text` without characters that have no sound and no place: controls, zero-width, private use, replacement.

    Composed (NFC), and full-width ASCII letters, digits and number signs made half-width. Emoji stay (`normalize`
    drops them).
    """
    composed = unicodedata.normalize("NFC", _INVISIBLE.sub("", text))
    return composed.translate(_HALF_WIDTH)


_HALF_WIDTH = {
    code: code - 0xFEE0
    for code in range(0xFF01, 0xFF5F)
    if chr(code - 0xFEE0).isalnum() or chr(code - 0xFEE0) in "%+-/=@#&*"
}


def normalize(text: str) -> str:
    """`text` as it is spoken, in lower case, ending in `。` `.` or a question mark; "" when nothing is left.

    Normalising twice gives the same as once, but for the end of a piece that was cut out.
    """
    spans: list[str] = []

    def stand_in(match: re.Match[str]) -> str:
        spans.append(match[0])
        return chr(_FIRST_STANDIN + len(spans) - 1)

    text = _prepare(_SPANS.sub(stand_in, clean(text)))
    grammar = _grammar("zh" if has_chinese(text) else "en")
    text = chinese.speak(text, grammar) if has_chinese(text) else english.speak(text, grammar, keep=_STANDIN)
    text = _end(_punctuate(text))
    return re.sub(f"[{_STANDIN}]", lambda match: spans[ord(match[0]) - _FIRST_STANDIN], text)


def speakable(text: str) -> bool:
    """Whether a normalised text has anything to say: a letter, a digit or a phoneme."""
    return any(char.isalnum() for char in text)


def warm() -> None:
    """Loads both grammars (about 0.6 s), so that no request waits for them."""
    _grammar("zh")("1")
    _grammar("en")("1")


def _prepare(text: str) -> str:
    """One line without emoji or Markdown; every former line ends in punctuation."""
    text = text.replace("\\n", "\n")
    text = re.sub(r"([^\w\s])\1{4,}", r"\1\1\1\1", EMOJI.sub("", text))
    lines = [line.strip() for line in text.splitlines()]
    ended = [_end_line(_MARKER.sub(r"\1。", line)) for line in lines if line]
    joined = "".join(ended) if has_chinese("".join(ended)) else " ".join(ended)
    return re.sub(r"(?<=[A-Za-z])-(?=[A-Za-z])", " ", joined)


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
    text = re.sub(rf"[{PUNCTUATION}](?=[{PUNCTUATION}])", "", text)
    return text.replace("#", "").replace("！", "。").replace("!", ".").strip()


def _end(text: str) -> str:
    if not text or text[-1] in "？?":
        return text
    stem = text[:-1] if text[-1] in PUNCTUATION else text
    return stem + ("。" if has_chinese(text) else ".")


@cache
def _grammar(language: str) -> Verbalizer:
    """wetext's grammar for `zh` or `en`. Importing it loads all its transducers, hence here and not above."""
    import wetext

    normalizer = wetext.Normalizer(lang=language, full_to_half=language == "zh")

    def verbalize(text: str) -> str:
        # It strips what it is given.
        return "".join(
            piece[: len(piece) - len(piece.lstrip())] + normalizer.normalize(piece) + piece[len(piece.rstrip()) :]
            for piece in _pieces(text)
            if piece.strip()
        )

    return verbalize


def _pieces(text: str) -> Iterator[str]:
    """`text` in order, cut where no number is: the grammar's time grows with the square of what it is given."""
    start = 0
    while len(text) - start > _PIECE:
        window = text[start : start + _PIECE]
        end = _SENTENCE.match(window) or _PAUSE.match(window)
        step = end.end() if end else _PIECE
        yield text[start : start + step]
        start += step
    yield text[start:]
