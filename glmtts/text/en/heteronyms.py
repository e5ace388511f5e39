"""Readings of English heteronyms by context, from the table `data/heteronyms.tsv`.

The table's header describes its format.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from glmtts.text.en.word_classes import word_class

REACH = 8
"""How many words and signs on each side a context can see."""

_CHARACTERS = 100
_PIECE = re.compile(r"[a-z]+(?:['’][a-z]+)*|\d+|[^\sa-z\d]")
_NAME = re.compile(r"\$[a-z]+")
_SIBILANT = ("S", "Z", "SH", "ZH", "CH", "JH")
_VOICELESS = ("P", "T", "K", "F", "TH")


class Occurrence(NamedTuple):
    """A word with what stands around it: words and signs in lower case, in reading order."""

    left: list[str]
    word: str
    right: list[str]
    capital: bool

    @property
    def window(self) -> str:
        """What contexts are searched in."""
        return f" {' '.join(self.left)} _ {' '.join(self.right)} "


Context = Callable[[Occurrence], bool]


def reading(text: str, start: int, end: int) -> str | None:
    """The pronunciation in ARPAbet of the word `text[start:end]` where it stands, or None if it isn't a heteronym."""
    lines = _table().get(text[start:end].lower())
    if lines is None:
        return None
    left = _PIECE.findall(text[max(0, start - _CHARACTERS) : start].lower().replace("’", "'"))[-REACH:]
    right = _PIECE.findall(text[end : end + _CHARACTERS].lower().replace("’", "'"))[:REACH]
    found = Occurrence(left, text[start:end].lower(), right, text[start].isupper())
    return next((phones for phones, contexts in lines if not contexts or any(fits(found) for fits in contexts)), None)


@cache
def _table() -> dict[str, list[tuple[str, list[Context]]]]:
    table: dict[str, list[tuple[str, list[Context]]]] = {}
    names: dict[str, str] = {}
    for line in files("glmtts.text").joinpath("data", "heteronyms.tsv").read_text("utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        head, phones, *patterns = line.split("\t")
        if head.startswith("$"):
            names[head] = f"(?:{phones})"
            continue
        contexts = [_context(_NAME.sub(lambda match: names[match[0]], pattern)) for pattern in patterns]
        for word, spoken in _forms(head, phones):
            table.setdefault(word, []).append((spoken, contexts))
    return table


def _forms(head: str, phones: str) -> Iterator[tuple[str, str]]:
    """A table's word with its pronunciation, and its form in -s where the table asks for it: `record(s)`."""
    word = head.removesuffix("(s)")
    yield word, phones
    if word != head:
        last = phones.split()[-1]
        yield f"{word}s", f"{phones} {'IH0 Z' if last in _SIBILANT else 'S' if last in _VOICELESS else 'Z'}"


def _context(pattern: str) -> Context:
    if pattern == "@past":
        return _is_past
    if pattern == "@capital":
        return lambda found: found.capital and bool(found.left) and found.left[-1] not in '.!?:"'
    if pattern == "@lower":
        return lambda found: not found.capital
    if pattern.startswith("@"):
        wanted = pattern.removeprefix("@")
        return lambda found: word_class(found.left, found.word, found.right) == wanted
    search = re.compile(rf"(?<![\w'])(?:{pattern})").search
    return lambda found: search(found.window) is not None


def _is_past(found: Occurrence) -> bool:
    """Whether a verb that doesn't change, such as "read", is in the past, as another verb before it is."""
    past = re.compile(r"\w{2,}[^e]ed|was|were|went|had|said|came|took|sat|told|wrote|knew")
    return any(past.fullmatch(word) for word in found.left)


def warm() -> None:
    """Compiles the table's contexts, so that no request waits for it."""
    _table()
