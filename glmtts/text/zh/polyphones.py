"""Readings of Chinese polyphones by context, from the rule table `data/polyphones.txt`.

A rule is a regular expression over the characters around a polyphone, another one over their part-of-speech tags, or
both. The table's header describes its format. The first rule that matches decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import NamedTuple

REACH = 10
"""How many characters on each side a rule can see."""

_MACRO = re.compile(r"\$([a-z]+)")


class Rule(NamedTuple):
    """A reading and its contexts: pairs of patterns for characters and for tags. "" matches everywhere.

    A strong rule overrides the dictionary's phrases, others yield to them.
    """

    reading: str
    strong: bool
    contexts: tuple[tuple[re.Pattern[str], re.Pattern[str]], ...]

    def matches(self, text: str, tags: str) -> bool:
        """Whether this rule applies to a window of characters and one of tags, the polyphone being `_` in both."""
        return any(chars.search(text) and classes.search(tags) for chars, classes in self.contexts)


class Windows:
    """Cuts what rules see around a character out of a text.

    text: the whole text; tags: a letter for each of its characters; words: for each character, where its word begins.
    """

    def __init__(self, text: str, tags: str, words: list[int]) -> None:
        self._text, self._tags, self._words = text.replace("_", " "), tags, words

    def at(self, index: int) -> tuple[str, str]:
        """The characters and the tags around `index`; tags of the same word are in upper case."""
        first, last = max(0, index - REACH), index + 1 + REACH
        text = f"{self._text[first:index]}_{self._text[index + 1 : last]}"
        word = self._words[index]
        inside = (
            tag.upper() if start == word else tag
            for tag, start in zip(self._tags[first:last], self._words[first:last], strict=True)
        )
        tags = "".join(inside)
        return text, f"{tags[: index - first]}_{tags[index - first + 1 :]}"


def reading(char: str, windows: Windows, index: int, *, in_phrase: bool) -> str | None:
    """The pinyin of `char` with its tone digit (5 is neutral) at `index`, or None if no rule applies.

    in_phrase: whether the dictionary has a phrase there, to which weak rules yield.
    """
    rules = _table().get(char)
    if rules is None:
        return None
    text, tags = windows.at(index)
    found = (rule.reading for rule in rules if (rule.strong or not in_phrase) and rule.matches(text, tags))
    return next(found, None)


def has_rules(char: str) -> bool:
    """Whether the table has rules for a character."""
    return char in _table()


def warm() -> None:
    """Compiles the table's rules, so that no request waits for it."""
    _table()


@cache
def _table() -> dict[str, list[Rule]]:
    table: dict[str, list[Rule]] = {}
    for char, rule in _rules(files("glmtts.text").joinpath("data", "polyphones.txt").read_text("utf-8")):
        table.setdefault(char, []).append(rule)
    return table


def _rules(lines: str) -> Iterator[tuple[str, Rule]]:
    macros: dict[str, str] = {}

    def expanded(pattern: str) -> str:
        return _MACRO.sub(lambda match: macros[match[1]], pattern)

    for line in lines.splitlines():
        if not line or line.startswith("#"):
            continue
        head, *rest = line.split()
        if head.startswith("$"):
            macros[head[1:]] = f"(?:{expanded('|'.join(rest))})" if len(rest) > 1 else expanded(rest[0])
            continue
        spoken, *contexts = rest
        rule = _rule(spoken, [expanded(context) for context in contexts])
        for char in head:
            yield char, rule


def _rule(spoken: str, contexts: list[str]) -> Rule:
    pairs = (context.partition("/") for context in contexts)
    compiled = tuple((re.compile(chars), re.compile(tags)) for chars, _, tags in pairs)
    return Rule(spoken.removeprefix("!"), spoken.startswith("!"), compiled)
