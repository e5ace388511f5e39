"""Percentages, temperatures and units of measure in English."""

from __future__ import annotations

import re
import unicodedata

from glmtts.text.en.numbers import NUMBER, decimal_words, short_words
from glmtts.text.en.units import PER, UNITS
from glmtts.text.rules import Rule, rule

# These are also words or letters of names, so they ask for more.
_CLOSE_ONLY = frozenset({"t", "A", "N", "J", "pt", "d", "us", "ac", "au", "K", "cd", "MP", "cal"})
_CONTEXT = {
    "in": (
        r"(?=\.?\s?(?:x|by|tall|long|wide|high|deep|thick|screen|display|monitor|in diameter|of (?:snow|rain))\b|"
        r"\.?[,;)]|\.?\s*$|\.?-)"
    ),
    "s": r"(?!\w)",
    "A": r"(?!\s?[-A-Z])",
    "mo": r"(?!\s[A-Z])",
    "t": r"(?!-)",
    "K": r"(?<=\d\d\dK)",
}  # fmt: skip
_QUOTATION = 200
"""How many characters before a mark of feet or inches a quotation may have begun."""
_COMPASS = {"N": "north", "S": "south", "E": "east", "W": "west"}
_DASH = r"\s?[-–—~]\s?"
_EXPONENTS = str.maketrans("²³µΩ", "23μΩ")


# A 55" screen is a "fifty five inch screen".
_SIZED = (
    "screen|monitor|display|tv|laptop|tablet|pipe|pizza|nail|ruler|wheel|rim|vinyl|record|telescope|skillet|pan|"
    "sub|bike|tire"
)


def _symbol(symbol: str) -> str:
    pattern = (
        re.escape(symbol).replace("2", r"\^?[2²]").replace("3", r"\^?[3³]").replace("μ", "[μµ]").replace("°", r"°\s?")
    )
    close = r"(?<!\s)" if symbol in _CLOSE_ONLY and len(symbol) == 1 else ""
    return (f"(?<=\\d){pattern}" if close or symbol in _CLOSE_ONLY else pattern) + _CONTEXT.get(symbol, "")


def _alternatives(symbols: dict[str, object] | dict[str, str] | dict[str, tuple[str, str]]) -> str:
    return "|".join(map(_symbol, sorted(symbols, key=len, reverse=True)))


UNIT = _alternatives(UNITS)
"""The symbols of units, as a part of a regular expression."""
_PER = "|".join(
    re.escape(unit).replace("2", "[2²]").replace("3", "[3³]") for unit in sorted(PER, key=len, reverse=True)
)
_QUANTITY = (
    rf"(?P<article>\b[Aa]n?\s)?(?<![A-Za-z\d.,])(?P<first>{NUMBER})(?:\s?(?P<repeat>{UNIT})?(?:{_DASH}|\sto\s)"
    rf"(?P<minus>minus )?(?P<last>{NUMBER}))?"
    rf"[\s-]?(?P<unit>{UNIT})(?:/(?P<per>{_PER}))?"
    r"(?![A-Za-z\d²³'])(?P<dot>\.(?=[,;]|\s+[a-z\d]))?(?P<next>/(?=\d))?"
)


def _plain(symbol: str) -> str:
    return re.sub(r"(?<=°)\s|\^", "", symbol).translate(_EXPONENTS)


def unit_name(symbol: str, per: str | None = None, *, one: bool) -> str:
    """The name of a unit by its symbol, singular or plural, perhaps per another."""
    name = UNITS[_plain(symbol)][0 if one else 1]
    return f"{name} per {PER[_plain(per)]}" if per else name


def _quantity(match: re.Match[str]) -> str:
    """A number or a range with its unit; behind "a" the unit is singular, as in "a five kilogram bag"."""
    article = match["article"] or ""
    adjective = bool(article) and re.match(r"[\s-][a-z]", match.string[match.end() : match.end() + 2]) is not None
    one = match["first"] == "1" and not match["last"]
    words = decimal_words(match["first"])
    if match["last"]:
        if match["repeat"]:
            words += f" {unit_name(match['repeat'], None, one=match['first'] == '1')}"
        words += f" to {match['minus'] or ''}{decimal_words(match['last'])}"
    unit = unit_name(match["unit"], match["per"], one=one or adjective)
    return f"{article}{words} {unit}{', ' if match['next'] else ''}"


def _percent(match: re.Match[str]) -> str:
    last = f" to {match[3] or ''}{decimal_words(match[4])}" if match[4] else ""
    first_sign = " percent" if match[2] and last else ""
    name = "percent" if match[5] == "%" else "per mille"
    return f"{decimal_words(match[1])}{first_sign}{last} {name}"


def _inches(match: re.Match[str]) -> str:
    if match.string.count('"', max(0, match.start() - _QUOTATION), match.start()) % 2:
        return match[0]
    return f"{decimal_words(match[1])} {'inch' if match[1] == '1' else 'inches'}"


def _feet(match: re.Match[str]) -> str:
    before = match.string[max(0, match.start() - _QUOTATION) : match.start()]
    if re.search(r"(?<!\w)'\w", before):
        return match[0]
    return f"{decimal_words(match[1])} {'foot' if match[1] == '1' else 'feet'}"


def _squared(match: re.Match[str]) -> str:
    """A squared symbol such as ㎏ is the unit, with or without a number before it."""
    symbol = unicodedata.normalize("NFKC", match[0]).replace("∕", "/").replace("\u2044", "/")
    after_digit = match.string[: match.start()][-1:].isdecimal()
    return symbol if after_digit or symbol not in UNITS else f" {UNITS[symbol][1]} "


RULES: tuple[Rule, ...] = (
    rule(r"[\u3371-\u33df]", _squared),
    rule(rf"(?<![\d.])({NUMBER})\s?(%|‰)?(?:(?:{_DASH}|\sto\s)(minus )?({NUMBER}))?\s?([%‰])", _percent),
    rule(
        rf"(?<![\d.])({NUMBER})°\s?(\d{{1,2}})['′](?:\s?(\d{{1,2}}(?:\.\d{{1,4}})?)(?:[\"″]|''))?"
        r"(?:\s?([NSEW])\b)?",
        lambda m: (
            f"{decimal_words(m[1])} degrees {decimal_words(m[2])} minutes"
            + (f" {decimal_words(m[3])} seconds" if m[3] else "")
            + (f" {_COMPASS[m[4]]}" if m[4] else "")
        ),
    ),
    rule(r"(?<![\d.'])(\d)['′]\s?(1[01]|\d)(?:[\"″]|'')", lambda m: _feet_inches(m[1], m[2])),
    rule(r"(?<![\d.'])(\d)['′](1[01]|\d)(?=[\s.,]|$)", lambda m: _feet_inches(m[1], m[2])),
    rule(
        r"(?<![\d.'])(\d{1,3})['′](\d{1,2}(?:\.\d{1,3})?)(?:[\"″]|'')",
        lambda m: f"{decimal_words(m[1])} minutes {decimal_words(m[2])} seconds",
    ),
    rule(rf"(?<![\w.'])({NUMBER})[\"″](?=[\s-](?:{_SIZED})\b)", lambda m: f"{decimal_words(m[1])} inch", re.IGNORECASE),
    rule(
        rf"(?<![\w.'])({NUMBER})(?:″|\"(?=[\s-](?:tall|long|wide|by|x|of|thick|deep|high|in diameter)\b))",
        lambda m: f"{decimal_words(m[1])} {'inch' if m[1] == '1' else 'inches'}",
        re.IGNORECASE,
    ),
    rule(
        rf"(?<![\w.'])({NUMBER})(?:′|'(?=[\s-](?:tall|high|long|deep|wide|x|by|ceiling|fence|of|board|ladder)))",
        lambda m: f"{decimal_words(m[1])} {'foot' if m[1] == '1' else 'feet'}",
        re.IGNORECASE,
    ),
    # Other marks are inches and feet where no quotation is open.
    rule(rf"(?<![\w.'])({NUMBER})\"(?![\w\"])", _inches),
    rule(r"(?:(?<=ths)|(?<=th)|(?<=half)|(?<=quarter)|(?<=quarters))[\"″]", " inch"),
    rule(r"(?<![\w.'])(\d{1,2})'(?=[\s.,;!?]|$)", _feet),
    rule(rf"(?<![\w.])({NUMBER}°)\s?([NSEW])\b", lambda m: f"{m[1]} {_COMPASS[m[2]]}"),
    rule(r"(?<![\w.])(\d{3,4})(?=p(?:\d\d)?\b)", lambda m: _resolution(m[1])),
    rule(_QUANTITY, _quantity),
)
PRESSURES: tuple[Rule, ...] = (
    rule(r"(?<![\d/.])(\d{2,3})/(\d{2,3})(?=\s?mmHg)", lambda m: f"{decimal_words(m[1])} over {m[2]}"),
)
"""Blood pressures, which are no fractions."""


def _feet_inches(feet: str, inches: str) -> str:
    first = f"{decimal_words(feet)} {'foot' if feet == '1' else 'feet'}"
    return f"{first} {decimal_words(inches)} {'inch' if inches == '1' else 'inches'}"


def _resolution(lines: str) -> str:
    """1080p is "ten eighty p"."""
    if len(lines) == 3:
        return f"{short_words(lines)} "
    return f"{decimal_words(lines[:2])} {decimal_words(lines[2:].lstrip('0') or '0')} "
