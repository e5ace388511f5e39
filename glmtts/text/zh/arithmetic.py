"""Powers, fractions and comparisons in Chinese."""

from __future__ import annotations

import re

from glmtts.text.rules import Rule, rule
from glmtts.text.zh.numbers import NUMBER, cardinal

_VULGAR = {
    "½": (1, 2), "⅓": (1, 3), "⅔": (2, 3), "¼": (1, 4), "¾": (3, 4), "⅕": (1, 5), "⅖": (2, 5), "⅗": (3, 5),
    "⅘": (4, 5), "⅙": (1, 6), "⅚": (5, 6), "⅐": (1, 7), "⅛": (1, 8), "⅜": (3, 8), "⅝": (5, 8), "⅞": (7, 8),
    "⅑": (1, 9), "⅒": (1, 10),
}  # fmt: skip
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ", "0123456789-+n")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_COMPARISONS = {
    "!=": "不等于", "≠": "不等于", "<>": "不等于", "==": "等于", ">=": "大于等于", "≥": "大于等于", "≧": "大于等于",
    "<=": "小于等于", "≤": "小于等于", "≦": "小于等于", "≈": "约等于", "≒": "约等于", "≡": "恒等于", "±": "正负",
    "÷": "除以", "∞": "无穷大", "√": "根号", ">>": "远大于", "<<": "远小于", "≫": "远大于", "≪": "远小于",
}  # fmt: skip
_OPERAND = r"[\dA-Za-z)）α-ωΑ-Ω]"
_MINUS = {"-": "负", "−": "负", "": "", "+": ""}


def _exponent(match: re.Match[str]) -> str:
    """1e-5 is 十的负五次方."""
    mantissa = "" if match[1] == "1" else f"{cardinal(match[1])}乘"
    return f"{mantissa}十的{_MINUS[match[2]]}{cardinal(str(int(match[3])))}次方"


def _power(match: re.Match[str]) -> str:
    base = match[1] if match[1].isalpha() else cardinal(match[1])
    return f"{base}的{_MINUS[match[2]]}{cardinal(match[3]) if match[3].isdecimal() else match[3]}次方"


def _superscript(match: re.Match[str]) -> str:
    exponent = match[1].translate(_SUPERSCRIPTS)
    sign, digits = (exponent[0], exponent[1:]) if exponent[0] in "-+" else ("", exponent)
    return f"的{_MINUS[sign]}{cardinal(digits) if digits.isdecimal() else digits}次方"


def _vulgar(match: re.Match[str]) -> str:
    above, below = _VULGAR[match[2]]
    whole = f"{cardinal(match[1])}又" if match[1] else ""
    return f"{whole}{cardinal(str(below))}分之{cardinal(str(above))}"


def _fraction(match: re.Match[str]) -> str:
    whole = f"{cardinal(match[1])}又" if match[1] else ""
    return f"{whole}{_MINUS[match[2] or '']}{cardinal(match[4])}分之{cardinal(match[3])}"


def _quotient(match: re.Match[str]) -> str:
    """Before an equals sign 8/2 divides, unless it is a proper fraction."""
    above, below = int(match[1]), int(match[2])
    return match[0] if above < below else f"{cardinal(match[1])}除以{cardinal(match[2])}"


POWERS: tuple[Rule, ...] = (
    rule(r"(?:(?<=[\d)])|(?<=\b[A-Za-z]))\*\*(?=\d)", "^"),
    rule(r"(?<=[(（][A-Za-z])-(?=[A-Za-z\d][)）])", "减"),
    rule(r"(?<=[\dckd]m)\^(?=[23](?!\d))", ""),
    rule(r"(?<![A-Za-z\d.])(\d{1,9}(?:\.\d{1,9})?)(?:e|E(?=[-+]))([-+]?)(\d{1,3})(?![\dA-Za-z]|\.\d)", _exponent),
    rule(rf"(?<![\d.])({NUMBER})\s*[*x×]\s*({NUMBER}\^)", r"\1乘\2"),
    rule(
        rf"(?<![\d.])({NUMBER}|(?<![A-Za-z])[A-Za-z])\^[({{]?([-−]?)(\d{{1,9}}(?:\.\d{{1,9}})?|[A-Za-z]"
        rf"(?![A-Za-z]))[)}}]?",
        _power,
    ),
    # m² and m³ are units, 10² and x⁴ powers.
    rule(
        r"((?<=\d)[⁻⁺]?[⁰¹²³⁴-⁹ⁿ]{1,9}|(?<=[A-Za-z)）])[⁻⁺⁰¹⁴-⁹ⁿ][⁰¹²³⁴-⁹ⁿ]{0,9})",
        _superscript,
    ),
    rule(r"[₀-₉]+", lambda m: m[0].translate(_SUBSCRIPTS)),
)

FRACTIONS: tuple[Rule, ...] = (
    rule(r"(?<=\d)\s/\s(?=\d)", "除以"),
    rule(r"(?<![\d/.])(\d{1,9})\s?/\s?(\d{1,9})(?=\s?=)", _quotient),
    rule(rf"(\d{{0,4}})\s?([{''.join(_VULGAR)}])", _vulgar),
    rule(r"(?<![\d/.A-Za-z])(?:(\d{1,4})\s)?(-?)(\d{1,5})/(\d{1,5})(?![\d/A-Za-z%]|\.\d)", _fraction),
)

SIGNS: tuple[Rule, ...] = (
    rule(r"(?<=[\w)）])\s?(?:->|=>|→|⇒|➔|⟶)\s?(?=[\w(（])", "到"),
    rule("|".join(map(re.escape, sorted(_COMPARISONS, key=len, reverse=True))), lambda m: _COMPARISONS[m[0]]),
    rule(rf"(?<![\d.])({NUMBER}[A-Za-z]{{0,2}})\s?[*x×X✕]\s?(?=\d)", r"\1乘"),
    rule(rf"(?<={_OPERAND})\s?×\s?(?={_OPERAND[:-1]}(（])", "乘"),
    rule(r"(?<=\d)\s?×|×\s?(?=\d)", "乘"),
)
