"""Markdown and HTML to the plain text that is read aloud.

The marks go, their meaning stays: links and images become their text, table cells get pauses, and headings, list items
and paragraphs become lines. Lines that were wrapped at a width are joined. A text without marks stays as it is, and so
do signs that only look like marks: 5 * 3, a < b, snake_case, #1, C#.

Blocks are told apart by their lines (`_blocks`), since nesting does not matter for the voice; markdown-it parses what
is inside them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Literal, NamedTuple

from glmtts.text.characters import HANZI, SPECIAL_SPAN, has_chinese
from glmtts.text.html_tags import closed_elements, drop_hidden, spoken_tag, write_powers
from glmtts.text.lines import break_lines, join_wrapped

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token


class _Context(NamedTuple):
    """What a block's inside refers to in the rest of the text."""

    references: dict[str, dict[str, str]]
    """Link targets by label, as markdown-it keeps them."""
    closed: frozenset[str]
    """Names of the elements that are closed."""


_Kind = Literal["text", "item", "heading", "row", "code", "silent"]
"""An item begins a paragraph, text goes on with it; a silent line only separates."""

_MARKS = re.compile(r"[*_`<>#&|~$\[\\\n•]|^\s*[-+]\s", re.MULTILINE)

# A span of tokens travels as one private-use character, of which `clean` leaves none in a text.
_FIRST_STANDIN = 0xF0000
_STANDIN = re.compile("[\U000f0000-\U0010ffff]")
_SPANS = re.compile(f"(?:{SPECIAL_SPAN.pattern})+")

_FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})[^`]*$")
_QUOTE = re.compile(r"(?:[ \t]*>(?![\d=]))+[ \t]*")
_RULE = re.compile(r"[ \t]*([-*_=])(?:[ \t]*\1){2,}[ \t]*$")
_HEADING = re.compile(r"[ \t]*#{1,6}[ \t]+")
_HEADING_END = re.compile(r"(?<=\s)#+$")
_BULLET = re.compile(r"[ \t]*(?:(?:[-*•]|\+(?![ \t]+\d))[ \t]+)+(?:\[[ xX]\][ \t]+)?")
_NUMBERED = re.compile(r"[ \t]*\d{1,9}[.)][ \t]")
_DELIMITER_ROW = re.compile(r"[ \t]*\|?(?:[ \t]*:?-+:?[ \t]*\|)+(?:[ \t]*:?-+:?[ \t]*)?$")
_CELL_BORDER = re.compile(r"(?<!\\)\|")
_REFERENCE = re.compile(
    r"[ \t]{0,3}\[([^\[\]]+)\]:[ \t]*<?((?:https?://|mailto:|/|\./|#)[^\s<>]*)>?(?:[ \t]+[\"'(][^\"')]*[\"')])?[ \t]*$"
)
_FOOTNOTE = re.compile(r"\[\^[^\[\]\s]{1,40}\](?::[ \t]?)?")
# Formulas between dollar signs, as Pandoc tells them from prices; they say more than a number.
_FORMULA = re.compile(
    r"\$\$([^$\n]{1,400})\$\$|(?<![\\$A-Za-z\d])\$(?=[^$\n]{0,200}[A-Za-z=^])(?![\s\d])([^$\n]{0,200}[^\s$\\])\$(?![\d$])"
)


def strip_markup(text: str) -> str:
    """`text` without marks. Apply `glmtts.text.compatibility.clean` before it, and after it: entities are decoded."""
    if not _MARKS.search(text):
        return text
    spans: list[str] = []

    def stand_in(match: re.Match[str]) -> str:
        spans.append(match[0])
        return chr(_FIRST_STANDIN + len(spans) - 1)

    blocks = _blocks(write_powers(drop_hidden(_SPANS.sub(stand_in, break_lines(text)))).splitlines())
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    plain = "\n".join(line for line in lines if line)
    return _STANDIN.sub(lambda match: spans[ord(match[0]) - _FIRST_STANDIN], plain)


def _blocks(lines: list[str]) -> Iterator[str]:
    """The plain text of each block: a heading, list item, table row, line of code or paragraph."""
    lines = [_QUOTE.sub("", line, count=1) if _QUOTE.match(line) else line for line in lines]
    context = _Context(_references(lines), closed_elements("\n".join(lines)))
    paragraph: list[str] = []
    for kind, content in _contents(lines):
        if kind != "text":
            yield _inline(join_wrapped(paragraph), context)
            paragraph = []
        match kind:
            case "text" | "item":
                paragraph.append(content)
            case "heading":
                yield _inline(content, context)
            case "row":
                yield _row(content, context)
            case "code":
                yield content
    yield _inline(join_wrapped(paragraph), context)


def _contents(lines: list[str]) -> Iterator[tuple[_Kind, str]]:
    """The kind of each line, and what it contains besides the marks of that kind."""
    rows = _table_rows(lines)
    fence = ""
    for number, line in enumerate(lines):
        if fence:
            if line.strip().startswith(fence) and not line.strip(" \t`~"):
                fence = ""
            else:
                yield "code", line
        elif match := _FENCE.match(line):
            fence = match[1]
            yield "silent", ""
        elif number in rows:
            yield "row", line
        elif match := _HEADING.match(line):
            yield "heading", _HEADING_END.sub("", line[match.end() :].rstrip())
        elif not line.strip() or any(kind.match(line) for kind in (_RULE, _DELIMITER_ROW, _REFERENCE)):
            yield "silent", ""
        elif match := _BULLET.match(line):
            yield "item", line[match.end() :]
        else:
            yield "item" if _NUMBERED.match(line) else "text", line


def _references(lines: list[str]) -> dict[str, dict[str, str]]:
    from markdown_it.common.utils import normalizeReference

    found = [match for line in lines if (match := _REFERENCE.match(line))]
    return {normalizeReference(match[1]): {"href": match[2], "title": ""} for match in found}


def _table_rows(lines: list[str]) -> set[int]:
    """The numbers of lines that are rows: those between bars, and those around a row of delimiters."""
    rows: set[int] = set()
    in_table = False
    for number, line in enumerate(lines):
        if _DELIMITER_ROW.match(line):
            in_table = number > 0 and "|" in lines[number - 1]
            rows |= {number - 1} if in_table else set()
        elif _is_row(line) or (in_table and "|" in line):
            rows.add(number)
        else:
            in_table = False
    return rows


def _is_row(line: str) -> bool:
    line = line.strip()
    return line.startswith("|") and line.endswith("|") and line.count("|") > 2


def _row(line: str, context: _Context) -> str:
    cells = [_inline(cell.replace("\\|", "|"), context).strip() for cell in _CELL_BORDER.split(line)]
    return _pause(line).join(cell for cell in cells if cell)


def _pause(text: str) -> str:
    return "，" if has_chinese(text) else ", "


# CommonMark takes wide punctuation for punctuation, so `**注意：**明天` is not bold. A private-use character at the
# asterisks makes it so.
_LETTER = "\ue000"
_WIDE = rf"[{HANZI}，。！？：；、（）《》〈〉【】「」『』“”‘’—…·]"
_BETWEEN_WIDE = re.compile(rf"(?<={_WIDE})(\*{{1,3}})(?!\*)|(?<!\*)(\*{{1,3}})(?={_WIDE})")
# Nor are underscores between letters emphasis, which is what Chinese characters are.
_DOUBLE_UNDERSCORES = re.compile(r"(?<![A-Za-z0-9_])__(?=[^\s_])([^_\n]{1,200})__(?![A-Za-z0-9_])")
_PRODUCT = re.compile(
    r"(?<=[0-9)])\*(?=[A-Za-z0-9(])|(?<=[A-Za-z0-9)])\*(?=[0-9])|(?<=\b[A-Za-z])\*(?=[A-Za-z]\b)|(?<=\d)\*{2,12}(?=\d)|(?<=\b[A-Za-z])\*\*(?=\d)"
)
_PATH = re.compile(r"(?<![A-Za-z])[A-Za-z]:\\[\w\\.-]{0,200}|(?<![\\\w])\\\\(?=\w)[\w\\.-]{0,200}")
_LEFT_OVER = re.compile(r"(?<![A-Za-z\d*])\*{2,}|\*{2,}(?![\d*])")


def _inline(text: str, context: _Context) -> str:
    """The plain text of a block's inside."""
    if not text:
        return ""
    text = _PATH.sub(lambda match: match[0].replace("\\", "\\\\"), _FOOTNOTE.sub("", text))
    text = _PRODUCT.sub(lambda match: match[0].replace("*", "\\*"), text)
    text = _FORMULA.sub(lambda match: match[1] or match[2], text)
    text = _DOUBLE_UNDERSCORES.sub(r"**\1**", text)
    text = _BETWEEN_WIDE.sub(rf"{_LETTER}\g<0>{_LETTER}", text)
    tokens = _parser().parseInline(text, {"references": context.references})
    return _LEFT_OVER.sub("", _plain(tokens[0].children or [], _pause(text), context.closed).replace(_LETTER, ""))


def _plain(tokens: list[Token], pause: str, closed: frozenset[str]) -> str:
    parts: list[str] = []
    for token in tokens:
        if token.type in ("softbreak", "hardbreak"):
            parts.append("\n")
        elif token.type == "html_inline":
            parts.append(spoken_tag(token.content, before=parts[-1] if parts else "", pause=pause, closed=closed))
        elif token.type == "image":
            parts.append(_plain(token.children or [], pause, closed))
        else:
            parts.append(token.content)
    return "".join(parts)


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark").enable("strikethrough")


def warm() -> None:
    """Loads the parser, so that no request waits for it."""
    _parser()
