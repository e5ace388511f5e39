"""Which text ids of a segment belong to which of its words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, chain, pairwise
from typing import NamedTuple

from glmtts.text.frontend.g2p import Unit


class WordSpan(NamedTuple):
    """A word or a Chinese character of a segment: the segment's ids from `start` to `end`.

    `exact`: whether they are its ids, and not those where it would be if all characters had equally many.
    """

    text: str
    start: int
    end: int
    exact: bool


def word_spans(
    units: Sequence[Unit], ids: tuple[int, ...], encode: Callable[[str], tuple[int, ...]]
) -> tuple[WordSpan, ...]:
    """The words among the `units` of a segment with these ids, without punctuation.

    Exact if the ids are those of its units one after the other, as phonemes or as letters: a tokenizer may also join
    several units to one id.
    """
    for forms in ([unit.written for unit in units], [unit.text for unit in units]):
        parts = [encode(form) for form in forms]
        if tuple(chain.from_iterable(parts)) == ids:
            return _spans(units, list(accumulate(map(len, parts), initial=0)), exact=True)
    characters = list(accumulate((len(unit.text) for unit in units), initial=0))
    scale = len(ids) / max(characters[-1], 1)
    return _spans(units, [round(scale * character) for character in characters], exact=False)


def _spans(units: Sequence[Unit], borders: Sequence[int], *, exact: bool) -> tuple[WordSpan, ...]:
    return tuple(
        WordSpan(unit.text, start, end, exact)
        for unit, (start, end) in zip(units, pairwise(borders), strict=True)
        if any(map(str.isalnum, unit.text))
    )
