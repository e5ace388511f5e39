"""What an HTML tag is for the voice: a line break, a pause, a picture's description, or nothing."""

from __future__ import annotations

import html
import re
from collections.abc import Set

_LINES = frozenset({
    "address", "article", "aside", "blockquote", "body", "br", "caption", "center", "dd", "details", "dialog",
    "div", "dl", "dt", "fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6",
    "head", "header", "hr", "html", "legend", "li", "main", "menu", "nav", "ol", "optgroup", "option", "p", "pre",
    "section", "select", "summary", "table", "tbody", "textarea", "tfoot", "thead", "title", "tr", "ul",
})  # fmt: skip
_CELLS = frozenset({"td", "th"})
_SILENT = frozenset({
    "a", "abbr", "acronym", "audio", "b", "base", "bdi", "bdo", "big", "button", "canvas", "cite", "code", "col",
    "colgroup", "data", "datalist", "del", "dfn", "em", "embed", "font", "i", "iframe", "img", "input", "ins",
    "kbd", "label", "link", "map", "mark", "meta", "meter", "nobr", "noscript", "object", "output", "param",
    "picture", "progress", "q", "rp", "rt", "ruby", "s", "samp", "small", "source", "span", "strike", "strong",
    "sub", "sup", "svg", "time", "track", "tt", "u", "var", "video", "wbr",
})  # fmt: skip
_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9-]*)(.*?)/?>$", re.DOTALL)
_CLOSING = re.compile(r"</([A-Za-z][A-Za-z0-9-]*)\s*>")
_POWER = re.compile(r"<sup>([0-9+-]{1,4})</sup>", re.IGNORECASE)
_SUPERSCRIPTS = str.maketrans("0123456789+-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻")
_ALT = re.compile(r"\balt\s*=\s*(?:\"([^\"]*)\"|'([^']*)')", re.IGNORECASE)
_HIDDEN = (
    (re.compile("<!--"), re.compile("-->")),
    (re.compile(r"<script\b", re.IGNORECASE), re.compile(r"</script\s*>", re.IGNORECASE)),
    (re.compile(r"<style\b", re.IGNORECASE), re.compile(r"</style\s*>", re.IGNORECASE)),
)


def drop_hidden(text: str) -> str:
    """`text` without what a browser does not show: comments, scripts and style sheets."""
    for start, end in _HIDDEN:
        parts: list[str] = []
        position = 0
        while (opening := start.search(text, position)) and (closing := end.search(text, opening.end())):
            parts.append(text[position : opening.start()])
            position = closing.end()
        text = "".join([*parts, text[position:]])
    return text


def write_powers(text: str) -> str:
    """`text` with superscripts for numbers in `<sup>`: m² is not m2."""
    return _POWER.sub(lambda match: match[1].translate(_SUPERSCRIPTS), text)


def closed_elements(text: str) -> frozenset[str]:
    """The names, in lower case, of the elements that a text closes."""
    return frozenset(name.lower() for name in _CLOSING.findall(text))


def spoken_tag(tag: str, *, before: str, pause: str, closed: Set[str]) -> str:
    """What is read for `tag` behind the text `before`; `pause` is written between table cells.

    A tag that HTML does not have stays as written, unless its element is one of those that the text closes.
    """
    if tag.startswith(("<!", "<?")):
        return ""
    match = _TAG.match(tag)
    if match is None:
        return tag
    closes, name, attributes = bool(match[1]), match[2].lower(), match[3].strip()
    if name not in _LINES | _CELLS | _SILENT | closed:
        return tag
    if name not in closed and _is_comparison(name, attributes, before):
        return tag
    if name == "img":
        alt = _ALT.search(attributes)
        return html.unescape(alt[1] or alt[2] or "") if alt else ""
    if name in _LINES:
        return "\n"
    return pause if name in _CELLS and closes else ""


def _is_comparison(name: str, attributes: str, before: str) -> bool:
    """Whether the tag of an element that is not closed is none but two signs: a<b and b>c, x<i>y."""
    behind_word = before[-1:].isascii() and before[-1:].isalnum()
    return len(name) == 1 and name != "p" and ("=" not in attributes if attributes else behind_word)
