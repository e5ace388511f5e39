"""Rewrite rules: what is written in a certain way, and how it is spoken."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from glmtts.text.characters import simplified

Spoken = str | Callable[[re.Match[str]], str]
"""What stands for a match: a template as for `re.sub`, or a function of the match."""


class Rule(NamedTuple):
    """Every match of `pattern` is replaced by `spoken`."""

    pattern: re.Pattern[str]
    spoken: Spoken


def rule(pattern: str, spoken: Spoken, flags: int = 0) -> Rule:
    """A rule from a regular expression. It must be linear in time: bound each repetition, or anchor its start."""
    return Rule(re.compile(pattern, flags), spoken)


def apply(rules: Iterable[Rule], text: str) -> str:
    """`text` rewritten by each of the rules in order."""
    for pattern, spoken in rules:
        text = pattern.sub(spoken, text)
    return text


def apply_simplified(rules: Iterable[Rule], text: str) -> str:
    """`text` rewritten by rules in simplified Chinese: traditional text matches too, and stays as written between."""
    plain = simplified(text)
    if plain == text:
        return apply(rules, text)
    for pattern, spoken in rules:
        plain, text = _sub_both(pattern, spoken, plain, text)
    return text


def _sub_both(pattern: re.Pattern[str], spoken: Spoken, plain: str, text: str) -> tuple[str, str]:
    """Matches of `pattern` in `plain` replaced in both texts, which have the same length before and after."""
    plain_parts: list[str] = []
    text_parts: list[str] = []
    end = 0
    for match in pattern.finditer(plain):
        new = match.expand(spoken) if isinstance(spoken, str) else spoken(match)
        plain_parts += plain[end : match.start()], new
        text_parts += text[end : match.start()], _as_written(new, match[0], text[match.start() : match.end()])
        end = match.end()
    return "".join([*plain_parts, plain[end:]]), "".join([*text_parts, text[end:]])


def _as_written(new: str, plain: str, written: str) -> str:
    """`new` with what it shares with the start and the end of `plain` taken from `written`."""
    most = min(len(new), len(plain))
    start = next((i for i in range(most) if new[i] != plain[i]), most)
    end = next((i for i in range(most - start) if new[-1 - i] != plain[-1 - i]), most - start)
    return written[:start] + new[start : len(new) - end] + written[len(plain) - end :]
