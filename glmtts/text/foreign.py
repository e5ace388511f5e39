"""Characters of languages that are not spoken here. They are left out before a text is normalised, and counted.

Foreign are letters, their marks and digits of every writing system but the Chinese and the Latin one, and Latin letters
without a plain form, such as those of the phonetic alphabet. Two cases depend on the neighbours:

- Ideographs beside kana are Japanese, unless Japanese has no such character (你, 这): then the kana alone is foreign.
- Single Greek letters are signs with a name (α, 5 μΩ); in a text with a Greek word all are foreign.

Punctuation, signs without a name, emoji and invisible characters are no letters: they are dropped and not counted.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from itertools import chain

from glmtts.text.characters import SPECIAL_SPAN, is_hanzi, latin_letters
from glmtts.text.language import Language

GREEK_NAMED = "αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΦΨΩ"
"""Greek letters that the rules of both languages read by name."""

_IDEOGRAPHIC = "々〇"
_APOSTROPHES = "\u02bb\u02bc\u02bd"
_UNREAD_FRACTIONS = "⅟↉"
_KINDS = ".mhkgGf"
_READ_NUMBERS = re.compile("[❶-❿➀-➓]")

# Kinds of characters: f foreign, g and G Greek with a name and without, h ideograph, k kana, m mark, . all others.
_EAST_ASIAN = re.compile("[hkm]+")
_KANA = re.compile("k[km]*")
_GREEK_WORD = re.compile("G|g{3}")
_FOREIGN = re.compile("f[fm]*")


def leave_out(text: str, language: Language | None = None, keep: re.Pattern[str] | None = None) -> tuple[str, str]:
    """`text` with a space for each foreign stretch, and all foreign characters.

    language: of the text, if it is known: beside kana, all ideographs of a Chinese text stay. keep: what is left as it
    is, besides tokens `<|…|>`. Leaving out twice gives the same as once.
    """
    if text.isascii():
        return text, ""
    kinds = _kinds(text, keep)
    if "k" in kinds:
        kinds = _EAST_ASIAN.sub(lambda run: _japanese(run, text, language), kinds)
    kinds = kinds.translate(_GREEK if _GREEK_WORD.search(kinds) else {})
    kept: list[str] = []
    foreign: list[str] = []
    end = 0
    for run in _FOREIGN.finditer(kinds):
        kept += text[end : run.start()], " "
        foreign.append(text[run.start() : run.end()])
        end = run.end()
    return "".join([*kept, text[end:]]), "".join(foreign)


def writing_systems(text: str) -> str:
    """Names of the writing systems of a foreign text, as Unicode has them: "Hangul, Thai"."""
    names = (unicodedata.name(unicodedata.normalize("NFKC", char)[0], "UNKNOWN") for char in text)
    systems = {re.split("[ -]", name)[0].capitalize() for name in names} - {"Cjk", "Combining"}
    return ", ".join(sorted(systems))


_GREEK = str.maketrans("gG", "ff")


def _kinds(text: str, keep: re.Pattern[str] | None) -> str:
    """The kind of each character; "." for those of a token `<|…|>` or in a match of `keep`."""
    kinds = list(map(_kind, text))
    for match in chain(SPECIAL_SPAN.finditer(text), keep.finditer(text) if keep is not None else ()):
        kinds[match.start() : match.end()] = "." * len(match[0])
    return "".join(kinds)


def _japanese(run: re.Match[str], text: str, language: Language | None) -> str:
    """The kinds of a run of ideographs and kana, with f for what is Japanese."""
    kinds = run[0]
    if "k" not in kinds:
        return kinds
    written = text[run.start() : run.end()]
    if language != "zh" and _is_japanese("".join(filter(is_hanzi, written))):
        return "f" * len(kinds)
    return _KANA.sub(lambda kana: "f" * len(kana[0]), kinds)


def _is_japanese(ideographs: str) -> bool:
    """Whether all ideographs are in JIS X 0208, which has those of everyday Japanese."""
    try:
        ideographs.encode("shift_jis")
    except UnicodeEncodeError:
        return False
    return True


@lru_cache(maxsize=1 << 14)
def _kind(char: str) -> str:
    """The kind of a character as it is written; of one that stands for several, the last in `_KINDS`."""
    if char.isascii():
        return "."
    if char in _UNREAD_FRACTIONS:
        return "f"
    kind = max(map(_plain_kind, unicodedata.normalize("NFKC", char)), key=_KINDS.index)
    return "f" if kind == "m" and char.isalnum() else kind


def _plain_kind(char: str) -> str:
    if char.isascii() or _READ_NUMBERS.match(char):
        return "."
    if is_hanzi(char) or char in _IDEOGRAPHIC:
        return "h"
    if unicodedata.category(char).startswith("M"):
        return "m"
    name = unicodedata.name(char, "")
    if not char.isalnum() or char in _APOSTROPHES:
        return "."
    if name.startswith(("HIRAGANA", "KATAKANA")):
        return "k"
    if name.startswith("GREEK"):
        return "g" if char in GREEK_NAMED else "G"
    return "." if latin_letters(char) else "f"
