"""Graphemes to phonemes: which characters of a normalised text are written as phonemes, and as which.

Mandarin is read by `glmtts.text.zh.pinyin`: initial, and final with tone, 5 for neutral. English is read by the
checkpoint's lexicon, if it has one. A phoneme is written as its token: `<|ZH|><|III1|>`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from functools import cache
from typing import NamedTuple

from glmtts.text.characters import SPECIAL_SPAN, is_hanzi
from glmtts.text.en.lexicon import WORD, Lexicon
from glmtts.text.zh import pinyin

Syllable = tuple[str, ...]
"""Phoneme names of one character, such as `("ZH", "III1")`; empty if the character isn't known."""

_RETROFLEX = frozenset({"zh", "ch", "sh", "r"})
_DENTAL = frozenset({"z", "c", "s"})


def phonemes_zh(text: str, able: AbstractSet[str] = frozenset()) -> str:
    """`text` with every Chinese character that is not in `able` written as its phoneme tokens.

    Characters are read in context (words decide polyphones). Everything else, spans `<|…|>` included, stays.
    """
    return "".join(
        char if char in able or not spoken else _tokens(_names(spoken))
        for char, spoken in zip(text, pinyin.readings(text), strict=True)
    )


def syllables(hanzi: str) -> list[Syllable]:
    """The phoneme names of each character of a Chinese text, in context."""
    return [_names(spoken) if spoken else () for spoken in pinyin.readings(hanzi)]


def syllable_tokens(spoken: str) -> str:
    """The tokens of a syllable in pinyin with a tone digit: zhang3 is `<|ZH|><|ANG3|>`. "" for one without a vowel."""
    return _tokens(_names(spoken))


@cache
def _names(spoken: str) -> Syllable:
    """The phoneme names of a syllable in pinyin with a tone digit; empty for one without a vowel, such as hm."""
    from pypinyin.contrib.tone_convert import to_finals_tone3, to_initials

    initial = to_initials(spoken, strict=True)
    final = to_finals_tone3(spoken, strict=True, neutral_tone_with_five=True)
    if not final:
        return ()
    if final.startswith("i") and initial in _RETROFLEX:
        final = "ii" + final
    elif final.startswith("i") and initial in _DENTAL:
        final = "i" + final
    return (initial.upper(), final.upper()) if initial else (final.upper(),)


def _tokens(names: Syllable) -> str:
    return "".join(f"<|{name}|>" for name in names)


class Unit(NamedTuple):
    """A piece of a text. `written` is what the model reads for it, `spoken` its pronunciation or ""."""

    text: str
    written: str
    spoken: str


class G2P:
    """Writes a normalised text for phoneme mode. Immutable after construction; cheap to make.

    replace: pronunciations by text, the longest key first; values are written as they are (`<|…|>` and text).
    able:    characters that the model reads well by themselves, so they stay; None means those that have one reading
             by pypinyin's dictionaries (`plain`).
    lexicon: English words in lower case to their phone tokens, or None to leave English as letters.
    known:   tokens of the model's vocabulary, or None for all; a character that needs others stays.
    """

    def __init__(
        self,
        replace: Mapping[str, str],
        able: AbstractSet[str] | None,
        lexicon: Mapping[str, str] | None = None,
        known: AbstractSet[str] | None = None,
    ) -> None:
        self._replace = {key: value for key, value in replace.items() if key}
        self._able = able
        self._lexicon = None if lexicon is None else Lexicon(lexicon)
        self._known = known
        keys = sorted(self._replace, key=len, reverse=True)
        # Spans come first: nothing inside a span of the text is replaced.
        self._cut = re.compile("|".join([f"({SPECIAL_SPAN.pattern})", *map(re.escape, keys)]))

    def __call__(self, text: str) -> str:
        """`text` with phoneme tokens for what is replaced, what is ambiguous, and English in the lexicon."""
        return "".join(unit.written for unit in self.units(text))

    def pronunciation(self, text: str) -> list[tuple[str, str]]:
        """What will be said of `text`: its Chinese characters, English words and replaced texts, each with its sound.

        A sound is pinyin with its tone digit (5 is neutral), ARPAbet, or, for a replacement that is neither, what is
        written for it. It is "" for a character or a word that neither the dictionaries nor the lexicon have.
        Punctuation and spaces are left out. A character that the model reads by itself has the dictionary's reading.
        """
        spoken = (unit for unit in self.units(text) if unit.spoken or unit.text.isalpha())
        return [pair for unit in spoken for pair in _sounds(unit)]

    def units(self, text: str) -> Iterator[Unit]:
        """The characters, English words and replaced texts that `text` consists of, in order."""
        readings = pinyin.readings(text)
        end = 0
        for match in self._cut.finditer(text):
            yield from self._plain(text, readings, end, match.start())
            written = match[0] if match[1] else self._replace[match[0]]
            yield Unit(match[0], written, written)
            end = match.end()
        yield from self._plain(text, readings, end, len(text))

    def _plain(self, text: str, readings: list[str], start: int, end: int) -> Iterator[Unit]:
        """The units of `text[start:end]`, in which nothing is replaced."""
        while start < end:
            word = WORD.match(text, start, end)
            if word:
                yield self._english(text, word)
                start = word.end()
            else:
                yield self._character(text[start], readings[start])
                start += 1

    def _character(self, char: str, spoken: str) -> Unit:
        if not is_hanzi(char):
            return Unit(char, char, "")
        able = plain() if self._able is None else self._able
        names = _names(spoken) if spoken else ()
        unknown = not names or (self._known is not None and not all(f"<|{name}|>" in self._known for name in names))
        return Unit(char, char if unknown or char in able else _tokens(names), spoken)

    def _english(self, text: str, word: re.Match[str]) -> Unit:
        if self._lexicon is None:
            return Unit(word[0], word[0], "")
        written, spoken = self._lexicon.read(text, word)
        return Unit(word[0], written, spoken)


def _sounds(unit: Unit) -> list[tuple[str, str]]:
    """A unit with its sound. One that is spoken as Mandarin tokens has pinyin, a syllable for each character if it can.

    A single token that stands in the text is left as it is.
    """
    syllables = [_spellings().get(names) for names in _split(unit.spoken)] if unit.text != unit.spoken else []
    known = [spelling for spelling in syllables if spelling is not None]
    if not known or len(known) < len(syllables):
        return [(unit.text, unit.spoken)]
    if len(known) == len(unit.text):
        return list(zip(unit.text, known, strict=True))
    return [(unit.text, " ".join(known))]


def _split(tokens: str) -> list[Syllable]:
    """The syllables of Mandarin tokens `<|X|><|IAN2|>`; none if there is anything else."""
    if not _SYLLABLES.fullmatch(tokens):
        return []
    return [tuple(filter(None, match.groups())) for match in _SYLLABLE.finditer(tokens)]


_SYLLABLE = re.compile(r"(?:<\|([A-Z]+)\|>)?<\|([A-Z]+[1-5])\|>")
_SYLLABLES = re.compile(rf"(?:{_SYLLABLE.pattern})+")


@cache
def _spellings() -> dict[Syllable, str]:
    """The pinyin of each syllable by its phoneme names: the inverse of `_names`."""
    from pypinyin.contrib.tone_convert import to_normal
    from pypinyin.pinyin_dict import pinyin_dict

    toneless = {to_normal(marked) for readings in pinyin_dict.values() for marked in readings.split(",")}
    spoken = [f"{syllable}{tone}" for syllable in sorted(toneless) for tone in range(1, 6)]
    return {names: syllable for syllable in spoken if (names := _names(syllable))}


@cache
def plain() -> frozenset[str]:
    """Characters that need no phonemes: common in pypinyin's phrases, and there almost always read one way.

    Common: in at least 3 phrases. One way: no second reading in more than 5 % of them.
    """
    from pypinyin.phrases_dict import phrases_dict

    readings: dict[str, Counter[str]] = {}
    for phrase, pronunciation in phrases_dict.items():
        for char, options in zip(phrase, pronunciation, strict=False):
            readings.setdefault(char, Counter())[options[0]] += 1
    return frozenset(
        char
        for char, counts in readings.items()
        if counts.total() >= 3 and max(counts.values()) >= 0.95 * counts.total()
    )


def warm() -> None:
    """Loads the dictionaries, so that no request waits for them."""
    pinyin.warm()
    plain()
