"""Signs in English text: Chinese punctuation and quotes plain before the rules, names for what is left after them."""

from __future__ import annotations

import re
import unicodedata

from glmtts.text.en.numbers import NUMBER, circled, decimal_words, digit_words
from glmtts.text.en.units import PER, UNITS
from glmtts.text.rules import Rule, rule

_PLAIN = str.maketrans({
    "，": ", ", "。": ". ", "！": "! ", "？": "? ", "；": "; ", "：": ": ", "、": ", ", "（": " (", "）": ") ",
    "’": "'", "‘": "'", "ʼ": "'", "“": '"', "”": '"', "…": ". ", "〜": "~", "～": "~",
})  # fmt: skip
_NAMES = {
    "©": "copyright",
    "&": "and", "@": "at", "%": "percent", "‰": "per mille", "²": "squared", "³": "cubed", "°": "degrees",
    "§": "section ", "±": "plus or minus", "×": "times", "÷": "divided by", "√": "the square root of", "∞": "infinity",
    "≈": "approximately", "$": "dollars", "€": "euros", "£": "pounds", "¥": "yen", "￥": "yuan", "¢": "cents",
    "℃": "degrees celsius", "℉": "degrees fahrenheit", "№": "number", "∑": "sum", "∆": "delta", "α": "alpha",
    "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "ζ": "zeta", "η": "eta", "θ": "theta", "ι": "iota",
    "κ": "kappa", "λ": "lambda", "μ": "mu", "ν": "nu", "ξ": "xi", "π": "pi", "ρ": "rho", "σ": "sigma", "τ": "tau",
    "υ": "upsilon", "φ": "phi", "χ": "chi", "ψ": "psi", "ω": "omega", "Γ": "gamma", "Δ": "delta", "Θ": "theta",
    "Λ": "lambda", "Ξ": "xi", "Π": "pi", "Σ": "sigma", "Φ": "phi", "Ψ": "psi", "Ω": "omega",
}  # fmt: skip
_CIRCLED = "[①-⒛⓪㉑-㉟㊱-㊿❶-❿➀-➓]"
# Units without a number before them, per another.
_ALONE = {
    unit: UNITS[unit][1] for unit in ("km", "m", "cm", "kg", "g", "mg", "μg", "ng", "mmol", "mol", "kJ", "kcal", "W")
}
_RAISED = {"²": "square ", "³": "cubic "}
_NAME_CLASS = "[" + "".join(map(re.escape, _NAMES)) + "]"

BEFORE: tuple[Rule, ...] = (
    rule(_CIRCLED, lambda m: f" {circled(m[0])} "),
    rule(
        r"(?<![\d.,])(?<!\d )(?:\d{1,3}(?: \d{3}){0,5} 000|\d{1,2}(?: \d{3}){2,6})(?![\d.,]*\d| \d)",
        lambda m: m[0].replace(" ", ","),
    ),
    # Digits that a form hides: 4111****1234.
    rule(
        r"(?<![\d*])(\d{2,10})\*{3,12}(\d{2,10})(?![\d*])",
        lambda m: f"{digit_words(m[1])}, stars, {digit_words(m[2])}",
    ),
    rule(r"(?:(?<=[\d)])|(?<=\b[A-Za-z]))\*\*(?=\d)", "^"),
    # Markdown's marks; a single asterisk between numbers multiplies.
    rule(r"\*{2,}|`+|~{2,}|(?<![\w\s)])\*|\*(?![\w\s(])|(?<![^\W_])_+|_+(?![^\W_])", " "),
)

AFTER: tuple[Rule, ...] = (
    # CO2 is "c o two", not a word.
    rule(r"\b([A-Z]{2,3})(?=\d)", lambda m: " ".join(m[1])),
    rule(r"(?<=[A-Za-z])(?=\d)|(?<=\d)(?=[A-Za-z])", " "),
    rule(r"(?<!\w)\.(?=\d)", " 0."),
    # Behind a word it marks a footnote.
    rule("[⁰¹²³⁴-⁹]{2,}|[⁰¹⁴-⁹]", lambda m: f" {digit_words(unicodedata.normalize('NFKC', m[0]))} "),
    rule(rf"{NUMBER}|\d+", lambda m: f" {decimal_words(m[0])} "),
    rule(
        rf"(?<![\w/])({'|'.join(_ALONE)})/({'|'.join(sorted(PER, key=len, reverse=True))})([²³])?(?![\w/])",
        lambda m: f"{_ALONE[m[1]]} per {_RAISED.get(m[3] or '', '')}{PER[m[2]]}",
    ),
    rule(
        rf"(?<=[a-z])\s?/\s?({'|'.join(sorted(PER, key=len, reverse=True))})\b",
        lambda m: f" per {PER[m[1]]}",
    ),
    rule(r"#(?=[A-Za-z])", "hashtag "),
    rule(_NAME_CLASS, lambda m: f" {_NAMES[m[0]]} "),
)


def plain(text: str) -> str:
    """`text` with the punctuation and quotes of English keyboards."""
    return text.translate(_PLAIN)
