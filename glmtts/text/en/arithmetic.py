"""Powers, fractions, comparisons, ordinals and ranges in English."""

from __future__ import annotations

import re

from glmtts.text.en import measures
from glmtts.text.en.numbers import NUMBER, decimal_words, number_words, ordinal_words, short_words
from glmtts.text.rules import Rule, rule

_VULGAR = {
    "½": (1, 2), "⅓": (1, 3), "⅔": (2, 3), "¼": (1, 4), "¾": (3, 4), "⅕": (1, 5), "⅖": (2, 5), "⅗": (3, 5),
    "⅘": (4, 5), "⅙": (1, 6), "⅚": (5, 6), "⅐": (1, 7), "⅛": (1, 8), "⅜": (3, 8), "⅝": (5, 8), "⅞": (7, 8),
    "⅑": (1, 9), "⅒": (1, 10),
}  # fmt: skip
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ", "0123456789-+n")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_COMPARISONS = {
    "!=": "not equal to", "≠": "not equal to", "<>": "not equal to", "===": "equals", "==": "equals",
    ">=": "greater than or equal to", "≥": "greater than or equal to", "=>": "to", "<=": "less than or equal to",
    "≤": "less than or equal to", "≈": "approximately", "±": "plus or minus", "+/-": "plus or minus",
    "÷": "divided by", "∞": "infinity", "√": "the square root of ", "=": "equals", "→": "to", "->": "to",
}  # fmt: skip
_DASH = r"\s?[-–—~]\s?"


def _times_ten(match: re.Match[str]) -> str:
    mantissa = "" if match[1] == "1" else f"{decimal_words(match[1])} times "
    return f"{mantissa}ten to the {_power_of(match[2] + match[3])}"


def _power_of(exponent: str) -> str:
    sign = "minus " if exponent[0] in "-−" else ""
    digits = exponent.lstrip("-−+")
    return f"power of {sign}{decimal_words(digits.lstrip('0') or '0') if digits[0].isdecimal() else digits}"


def _power(match: re.Match[str]) -> str:
    base = decimal_words(match[1]) if match[1][0].isdecimal() else match[1]
    return f"{base} to the {_power_of(match[2])}" if base != match[1] else base + _raised_to(match[2])


def _raised_to(exponent: str) -> str:
    return {"2": " squared", "3": " cubed"}.get(exponent) or f" to the {_power_of(exponent)}"


def _superscript(match: re.Match[str]) -> str:
    exponent = match[0].translate(_SUPERSCRIPTS)
    return _raised_to(exponent)


def _fraction_words(above: int, below: int) -> str:
    if below == 1:
        return number_words(above)
    name = {2: "half", 4: "quarter"}.get(below) or ordinal_words(below)
    if above == 1:
        return f"one {name}"
    return f"{number_words(above)} {'halves' if below == 2 else name + 's'}"


def _mixed(whole: str, above: int, below: int) -> str:
    if not whole:
        return _fraction_words(above, below)
    part = "a half" if (above, below) == (1, 2) else _fraction_words(above, below)
    return f"{decimal_words(whole)} and {part}"


def _vulgar(match: re.Match[str]) -> str:
    return _mixed(match[1], *_VULGAR[match[2]]) + " "


def _fraction(match: re.Match[str]) -> str:
    """3/4 is "three quarters"; 120/80, whose lower number names no part, "one hundred and twenty over eighty"."""
    whole, above, below = match[1] or "", int(match[2]), int(match[3])
    if 2 <= below <= 20 or (below in (24, 25, 30, 32, 40, 50, 60, 64, 100, 1000) and above < below):
        words = _mixed(whole, above, below)
        return f"{words} {measures.unit_name(match[4], one=not whole)}" if match[4] else words
    return f"{whole} {number_words(above)} over {number_words(below)}".strip()


def _resolution(match: re.Match[str]) -> str:
    """1920x1080 is "nineteen twenty by ten eighty"."""
    return " by ".join(short_words(size) for size in match.groups())


POWERS: tuple[Rule, ...] = (
    # Behind a unit a caret is written for a raised figure.
    rule(r"(?:(?<=/s)|(?<=/m)|(?<=[ckdm]m)|(?<=\dm)|(?<=\d m)|(?<=ft)|(?<=\din))\^(?=[23](?!\d))", ""),
    rule(r"(?<![A-Za-z\d.])(\d{1,9}(?:\.\d{1,9})?)(?:e|E(?=[-+]))([-+]?)(\d{1,3})(?![\dA-Za-z]|\.\d)", _times_ten),
    rule(
        rf"(?<![\d.])({NUMBER}|(?<![A-Za-z])[A-Za-z])\^[({{]?([-−]?(?:\d{{1,9}}(?:\.\d{{1,9}})?|[A-Za-z]"
        rf"(?![A-Za-z])))[)}}]?",
        _power,
    ),
    rule(r"(?<=[A-Za-z)])\^\(?([-−]?\d{1,3}|[a-z])(?![\w])\)?", lambda m: _raised_to(m[1])),
    rule(r"(?<=[\d)])[⁻⁺]?[⁰¹²³⁴-⁹ⁿ]{1,9}|(?<=[A-Za-z])[⁻⁺⁰¹⁴-⁹ⁿ][⁰¹²³⁴-⁹ⁿ]{0,9}", _superscript),
    rule(r"[₀-₉]+", lambda m: f" {' '.join(m[0].translate(_SUBSCRIPTS))} "),
)

FRACTIONS: tuple[Rule, ...] = (
    rule(r"(?<![\d/.])(\d)/(\d)(?=\stime\b)", lambda m: f"{number_words(int(m[1]))} {number_words(int(m[2]))}"),
    rule(
        r"(?<![\d/.])(?:(\d{1,3})/(\d{1,3})(?=\s(?:stars?|rating|points?|marks?)\b)|([5-9]|10|100)/(\3)(?![\d/]|\.\d))",
        lambda m: f"{number_words(int(m[1] or m[3]))} out of {number_words(int(m[2] or m[4]))}",
    ),
    rule(rf"(?<![\d/])(\d{{1,3}}/\d{{1,3}}){_DASH}(?=\d{{1,3}}/\d{{1,3}}(?![\d/]))", r"\1 to "),
    rule(rf"(?:(\d{{1,6}})[\s-]?)?([{''.join(_VULGAR)}])", _vulgar),
    rule(
        r"(?<![\d/.A-Za-z])(?:(\d{1,4})[\s-])?(\d{1,5})/(\d{1,5})(?!\d)(?:ths|rds|nds)?(?![/%]|\.\d|\s?mmHg)"
        rf"(?:\s?({measures.UNIT}))?(?![A-Za-z\d])",
        _fraction,
    ),
)

DIMENSIONS: tuple[Rule, ...] = (
    rule(r"(?<![\w.])(\d{1,3}|[a-z])!(?=\s?[=+*/×-])", r"\1 factorial"),
    rule(r"(?<![\w)])([fghFGHP])\(([a-z]|\d{1,2})\)", r"\1 of \2"),
    rule(r"(?:(?<=\d[a-z])|(?<=\b[xyzn]))\s[-−]\s(?=\d|[a-z]\b)", " minus "),
    rule(r"(?<![\d.,])(\d{3,4})\s?[x×]\s?(\d{3,4})(?![\d.,]*\d|\s?=)", _resolution),
    rule(r"(?<=\d)\sx\s(?=\d{1,9}\s?=)", " times "),
    rule(r"(?<=\d)\s/\s(?=\d)", " divided by "),
    rule(r"(?<=[a-z])\s[x×]\s(?=\d)", " by "),
    rule(r"(?<=\d\d\d)\s?×\s?(?=\d{3})|(?<=\d)\s?x\s?(?=\d)", " by "),
)

SIGNS: tuple[Rule, ...] = (
    rule(rf"({NUMBER})\s?-\s?({NUMBER})(?=\s?=)", r"\1 minus \2"),
    rule(
        r"(?<=[\d)%²³])\s?\+\s?(?=[\d(A-Za-z])|(?<=\b[A-Za-z])\s?\+\s?(?=[\dA-Za-z(])|(?<=[\da-z)])\s\+\s(?=[\da-z(])",
        " plus ",
    ),
    rule(
        r"(?<=\w)\s?×\s?(?=\w)|(?<=\d)\s?\*\s?(?=\d)|(?<=\d)x(?=\s(?:faster|slower|more|better|larger|bigger|"
        r"smaller|higher|the)\b)",
        " times ",
    ),
    rule(r"(?<=[²³])\s?[-−]\s?(?=[\dA-Za-z(])", " minus "),
    rule(r"(?<=\d)\+(?=\s|$|[,.;])", " plus"),
    rule(r"(?<=[\w)²³])\s?≈\s?", " is approximately "),
    rule("|".join(map(re.escape, sorted(_COMPARISONS, key=len, reverse=True))), lambda m: f" {_COMPARISONS[m[0]]} "),
    rule(
        r"(?<=[\d\s)])\s?<\s?(?=[\d\s(.$-])|(?<![A-Za-z])(?<=[A-Za-z])<(?=\d)|(?<=\b[A-Za-z])<(?=[A-Za-z\d]\b)",
        " less than ",
    ),
    rule(r"(?<=[\d\s)])\s?>\s?(?=[\d\s(.$-])|(?<=\b[A-Za-z])>(?=[A-Za-z\d])", " greater than "),
    rule(r"(?<![\w<>])<(?=\s?\d)", " less than "),
    rule(r"(?<![\w<>])>(?=\s?\d)", " greater than "),
)

NEGATIVES: tuple[Rule, ...] = (
    rule(r"([$€£¥￥])\s?[-−](?=\d)", r"-\1"),
    rule(r"(?<![\w.)%°'\"])(?:minus\s)?[-−](?=[$€£¥￥]?\.?\d)|−(?=\d)", "minus "),
    rule(r"(?<![\w.)])\+(?=[$€£]?\d)", "plus "),
    rule(r"(?<!\w)~\s?(?=[$€£]?\d)", "about "),
)

RANGES: tuple[Rule, ...] = (
    rule(rf"(?<=\d){_DASH}(?=(?:minus )?[$€£]?\d)", " to "),
    rule(
        r"(?<![\d.,])(\d{1,9}|\d{1,3}(?:,\d{3}){1,4})(?:st|nd|rd|th)\b",
        lambda m: ordinal_words(int(m[1].replace(",", ""))),
    ),
)
