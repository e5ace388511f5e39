"""Line breaks: those that are written as `\\n`, and those of a paragraph that was wrapped at a width."""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise

from glmtts.text.characters import is_hanzi

MIN_COLUMNS = 40
"""Shorter lines end where their writer meant them to: verses, addresses, lists without marks."""
_SENTENCE_END = tuple(".!?:;。！？：；…")
_HYPHENATED = re.compile(r"[^\W\d_]{2}-$")

# A backslash with an n is a line break, but not in a path.
_WRITTEN_BREAK = re.compile(r"(?<![A-Za-z])[A-Za-z]:\\[\w\\.-]{0,200}|\\n")


def break_lines(text: str) -> str:
    """`text` with a line break for each backslash with an n that is not in a path."""
    return _WRITTEN_BREAK.sub(lambda match: "\n" if match[0] == "\\n" else match[0], text)


def join_wrapped(lines: list[str]) -> str:
    """The lines as one text, in which a line break is left where a line does not look wrapped.

    A line is wrapped if it is at least 40 columns wide, ends inside a sentence, and had no room for the next word
    within the paragraph's width; or if it ends in a hyphenated word.
    """
    if not lines:
        return ""
    width = max(map(_columns, lines))
    parts = [lines[0]]
    for before, line in pairwise(lines):
        following = line.lstrip()
        if _HYPHENATED.search(before) and following[:1].islower():
            parts[-1] = parts[-1][:-1]
            parts.append(following)
        elif _is_wrapped(before, following, width):
            parts += _joint(before, following), following
        else:
            parts += "\n", line
    return "".join(parts)


def _is_wrapped(line: str, following: str, width: int) -> bool:
    columns = _columns(line)
    if columns < MIN_COLUMNS or line.endswith(("  ", "\\", *_SENTENCE_END)) or not following:
        return False
    first = following[:1] if is_hanzi(following[0]) else following.split(maxsplit=1)[0]
    return columns + 1 + _columns(first) > width


def _joint(before: str, following: str) -> str:
    return " " if before[-1:].isascii() or following[:1].isascii() else ""


def _columns(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)
