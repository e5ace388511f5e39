"""Cuts a normalised text into segments that the model speaks well in one go.

A segment ends at punctuation once it has its least weight, and is cut at its greatest. A character weighs 1, an English
syllable 0.7, because it takes about 0.7 of the time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from glmtts.text.characters import HANZI, PUNCTUATION, SPECIAL_SPAN

MIN_WEIGHT = 30.0
MAX_WEIGHT = 60.0
SYLLABLE_WEIGHT = 0.7
SENTENCE_ENDS = "。？！；.?!;"

# A phoneme span with a tone digit ends a syllable; one without (an initial) takes the next one with it.
_SYLLABLE_SPAN = rf"(?:<\|[^|<>]*[^|<>\d]\|>)?{SPECIAL_SPAN.pattern}"
# A letter outside Chinese; the iteration and zero signs count as ideographs.
_LETTER = rf"(?![{HANZI}々〆〇])[^\W\d_]"
_UNIT = re.compile(rf"{_SYLLABLE_SPAN}|{_LETTER}(?:{_LETTER}|['-])*|.", re.DOTALL)
_VOWELS = re.compile(r"[aeiouy]+")


def segment(
    text: str, *, minimum: float = MIN_WEIGHT, maximum: float = MAX_WEIGHT, by_sentence: bool = False
) -> list[str]:
    """Segments of `text` in order; joined they are `text` again, none is empty or has only spaces.

    All but the last weigh at least `minimum` and end in punctuation, or were cut at `maximum`. Punctuation right
    behind a cut goes with the segment before it. `by_sentence`: they end where sentences end, and one that weighs more
    than `maximum` is cut behind its last other sign in reach, if there is one in the second half.
    """
    ends = SENTENCE_ENDS if by_sentence else PUNCTUATION
    cut = _cut_at_signs if by_sentence else _cut
    pieces: list[str] = []
    for sentence in _sentences(units(text), minimum, ends):
        pieces.extend("".join(part) for part in cut(sentence, maximum))
    return pieces


def units(text: str) -> list[str]:
    """What is not cut: an ideograph, a word, a syllable of `<|…|>` spans, a sign; spaces go with the unit before."""
    result: list[str] = []
    for match in _UNIT.finditer(text):
        if match[0].isspace() and result:
            result[-1] += match[0]
        else:
            result.append(match[0])
    if len(result) > 1 and result[0].isspace():
        result[:2] = [result[0] + result[1]]
    return [] if text.isspace() else result


def weight(unit: str) -> float:
    """What a unit weighs: 0.7 for each syllable of an English word, else 1."""
    word = unit.strip()
    return SYLLABLE_WEIGHT * syllable_count(word) if word.isascii() and word.isalpha() else 1.0


def spoken_weight(text: str) -> float:
    """The weight of what is heard of a segment: its units without signs and `<|…|>` spans."""
    heard = (unit for unit in units(text) if any(map(str.isalnum, unit)) and not SPECIAL_SPAN.match(unit))
    return sum(map(weight, heard))


def syllable_count(word: str) -> int:
    """Syllables of an English word by its spelling: groups of vowels, a final silent e not counted; at least 1."""
    lower = word.lower()
    groups = len(_VOWELS.findall(lower))
    if groups > 1 and re.search(r"[^aeiouyl]e$|[aeiouy]le$", lower):
        groups -= 1
    return max(groups, 1)


def _sentences(all_units: list[str], minimum: float, ends: str) -> Iterator[list[str]]:
    current: list[str] = []
    total = 0.0
    for unit in all_units:
        current.append(unit)
        total += weight(unit)
        if unit.strip() in ends and unit.strip() and total >= minimum:
            yield current
            current, total = [], 0.0
    if current:
        yield current


def _cut(sentence: list[str], maximum: float) -> Iterator[list[str]]:
    start = 0
    total = 0.0
    for i, unit in enumerate(sentence):
        total += weight(unit)
        if total > maximum and i > start and not _is_punctuation(unit):
            yield sentence[start:i]
            start, total = i, weight(unit)
    yield sentence[start:]


def _cut_at_signs(sentence: list[str], maximum: float) -> Iterator[list[str]]:
    """Like `_cut`, but behind a sign where the second half of what fits has one."""
    rest = sentence
    while rest:
        total, fits, sign = 0.0, 0, 0
        for unit in rest:
            total += weight(unit)
            if total > maximum and fits and not _is_punctuation(unit):
                break
            fits += 1
            if _is_punctuation(unit) and total > maximum / 2:
                sign = fits
        end = len(rest) if fits == len(rest) else sign or fits
        yield rest[:end]
        rest = rest[end:]


def _is_punctuation(unit: str) -> bool:
    return len(unit.strip()) == 1 and unit.strip() in PUNCTUATION
