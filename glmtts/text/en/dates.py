"""Dates, years and decades in English."""

from __future__ import annotations

import re

from glmtts.text.en.numbers import digit_words, number_words, ordinal_words, pair_words, plural_ten, year_words
from glmtts.text.rules import Rule, rule

_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
_MONTH = "|".join(_MONTHS)
_YEAR = r"(?:1\d|20)\d{2}"
_NUMERIC_MONTH = r"(?:0?[1-9]|1[0-2])"
_DAY = r"(?:0?[1-9]|[12]\d|3[01])"
_DASH = r"\s?[-–—~]\s?"
# A number before these counts them and is no year.
_COUNTED = (
    r"(?:\w{2,20}\s){0,1}(?:people|men|women|children|[a-z]{2,20}[^s\W]s|feet|miles|times|percent|steps|dollars|"
    r"points|words|items|votes|units|degrees)\b"
)


def _ordinal_day(day: str) -> str:
    return ordinal_words(int(day))


def _numeric(year: str, month: str, day: str) -> str:
    """A date in figures: "the fifth of may twenty twenty four"."""
    return f"the {_ordinal_day(day)} of {_MONTHS[int(month) - 1]} {year_words(int(year))}"


def _year_first(match: re.Match[str]) -> str:
    article = "" if match["the"] is None else match["the"]
    return article + _numeric(match["year"], match["month"], match["day"]) + (" " if match["time"] else "")


def _year_last(match: re.Match[str]) -> str:
    """12/25/2024 begins with the month, 25/12/2024 and 25.12.2024 with the day."""
    first, second, year = match["first"], match["second"], match["year"]
    month, day = (second, first) if int(first) > 12 or match["mark"] == "." else (first, second)
    if int(month) > 12:
        month, day = day, month
    if int(month) > 12:
        return match[0]
    full = year if len(year) == 4 else ("20" if int(year) < 50 else "19") + year
    return _numeric(full, month, day)


def _month_day(match: re.Match[str]) -> str:
    """March 3rd, May 5-7, Dec. 25, 2024."""
    words = f"{match['month']} {_ordinal_day(match['day'])}"
    if match["last"]:
        words += f" to {_ordinal_day(match['last'])}"
    if match["year"]:
        words += f", {year_words(int(match['year']))}"
    return words


def _day_month(match: re.Match[str]) -> str:
    article = "" if match["the"] else "the "
    last = f" to {_ordinal_day(match['last'])}" if match["last"] else ""
    year = f" {year_words(int(match['year']))}" if match["year"] else ""
    return f"{match['the'] or ''}{article}{_ordinal_day(match['day'])}{last} of {match['month']}{year}"


def _decade(match: re.Match[str]) -> str:
    century = number_words(int(match[1]))
    if match[1] == "20" and match[2] == "0":
        return "two thousands"
    return f"{century} hundreds" if match[2] == "0" else f"{century} {plural_ten(match[2])}"


def _year(match: re.Match[str]) -> str:
    return year_words(int(match[1]))


def _next_year(match: re.Match[str]) -> str:
    """The season 2023/24 is of two years."""
    if int(match[2]) != (int(match[1]) + 1) % 100:
        return match[0]
    return f"{year_words(int(match[1]))} {pair_words(match[2])}"


def _year_range(match: re.Match[str]) -> str:
    last = year_words(int(match[2])) if len(match[2]) == 4 else pair_words(match[2])
    return f"{year_words(int(match[1]))} to {last}"


RULES: tuple[Rule, ...] = (
    rule(
        rf"(?P<the>\b[Tt]he\s)?(?<![\d.])(?P<year>{_YEAR})(?P<mark>[-/.])(?P<month>{_NUMERIC_MONTH})(?P=mark)"
        rf"(?P<day>{_DAY})(?:(?P<time>T)(?=\d)|(?!\d|[-/.]\d))",
        _year_first,
    ),
    rule(
        rf"(?<![\d./-])(?P<first>\d{{1,2}})(?P<mark>[-/.])(?P<second>\d{{1,2}})(?P=mark)(?P<year>{_YEAR})(?!\d|"
        r"[-/.]\d)",
        _year_last,
    ),
    rule(
        r"(?<![\d./-])(?P<first>0?[1-9]|[12]\d|3[01])(?P<mark>/)(?P<second>0?[1-9]|[12]\d|3[01])/(?P<year>\d{2})"
        r"(?![\d/]|\.\d)",
        _year_last,
    ),
    rule(
        rf"(?<![\d.-])({_YEAR})-(0[1-9]|1[0-2])(?![\d-]|\.\d)",
        lambda m: f"{_MONTHS[int(m[2]) - 1]} {year_words(int(m[1]))}",
    ),
    rule(
        rf"\b(?P<month>{_MONTH})\s(?P<day>{_DAY})(?:st|nd|rd|th)?\b(?![:.]\d|\s?(?:[ap]\.?m\b|%))(?:{_DASH}"
        rf"(?P<last>{_DAY})(?:st|nd|rd|th)?\b(?![:.]\d))?(?:,?\s(?P<year>{_YEAR})\b(?![:.]\d))?",
        _month_day,
    ),
    rule(
        rf"(?<![\d.$€£:-])(?P<the>\b[Tt]he\s)?\b(?P<day>{_DAY})(?:st|nd|rd|th)?(?:{_DASH}(?P<last>{_DAY})(?:st|nd|"
        rf"rd|th)?)?\s(?:of\s)?(?P<month>{_MONTH})\b(?:,?\s(?P<year>{_YEAR})\b(?![:.]\d))?",
        _day_month,
    ),
    rule(
        rf"(?:(?<=\b[oO]n )|(?<=\b[bB]y ))({_NUMERIC_MONTH})/({_DAY})(?![\d/])",
        lambda m: f"{_MONTHS[int(m[1]) - 1]} {_ordinal_day(m[2])}",
    ),
    rule(rf"\b({_MONTH}),?\s({_YEAR})\b(?![:.]\d)", lambda m: f"{m[1]} {year_words(int(m[2]))}"),
    rule(r"\b(1\d|20)(\d)0'?s\b", _decade),
    rule(
        r"\b([Pp]re|[Pp]ost|[Mm]id|[Ll]ate|[Ee]arly)-((?:1[1-9]|20)\d\d)(?![\w%]|[.,]\d)",
        lambda m: f"{m[1]} {year_words(int(m[2]))}",
    ),
    rule(r"(?<=\d(?:st|nd|rd|th)) c\.(?=\s|[,;)]|$)", " century"),
    rule(
        r"(?<!\w)'([2-9])0'?s\b|(?<=\bthe )([2-9])0'?s\b|(?<=\bhis )([2-9])0'?s\b|(?<=\bher )([2-9])0'?s\b|"
        r"(?<=\bmy )([2-9])0'?s\b|(?<=\beir )([2-9])0'?s\b|(?<=\bour )([2-9])0'?s\b|(?<=[dye][ -])([2-9])0'?s\b",
        lambda m: plural_ten(next(filter(None, m.groups()))),
    ),
    rule(r"(?<!\w)'00s\b", "two thousands"),
    rule(r"(?<![\d,.$])([2-9])0's\b", lambda m: plural_ten(m[1])),
    rule(r"(?<!\w)'(\d{2})(?=[\s.,;:!?)]|$)", lambda m: pair_words(m[1])),
    rule(
        r"(?<![\w'.,$])([2-9])0s(?=\s(?:music|style|fashion|rock|pop|movies?|films?|hits?|songs?|kids?|nostalgia|vibes?|"
        r"tv|television|cartoons?|bands?|dance|era|hip|sitcoms?|theme|party|classics?|icons?|retro)\b)",
        lambda m: plural_ten(m[1]),
        re.IGNORECASE,
    ),
    rule(r"(?<![\d/.])((?:19|20)\d\d)/(\d\d)(?![\d/]|\.\d)", _next_year),
    rule(rf"(?<![\d.,$€£-])({_YEAR}){_DASH}({_YEAR}|\d{{2}})(?![\d,%-]|\.\d|\s?(?:{_COUNTED}))", _year_range),
    rule(r"(?<=[A-Z]Y)\s?((?:19|20)\d{2})\b", lambda m: f" {year_words(int(m[1]))}"),
)

YEARS: tuple[Rule, ...] = (
    rule(rf"(?<![\w.,$€£-])((?:1[1-9]|20)\d{{2}})(?![\w%]|[.,]\d|\s{_COUNTED}|-\d)", _year),
    rule(
        rf"(?<=\b[Ii]n )(\d{{4}})(?=[.,;!?]?(?:\s|$))(?!\s{_COUNTED})",
        lambda m: year_words(int(m[1])) if m[1][0] in "12" else digit_words(m[1]),
    ),
)
