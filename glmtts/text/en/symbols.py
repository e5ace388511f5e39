"""Signs in English text: Chinese punctuation and quotes plain before the rules, names for what is left after them."""

from __future__ import annotations

import re
import unicodedata

from glmtts.text.en.numbers import NUMBER, circled, decimal_words, digit_words
from glmtts.text.en.units import PER
from glmtts.text.rules import Rule, rule

_PLAIN = str.maketrans({
    "，": ", ", "。": ". ", "！": "! ", "？": "? ", "；": "; ", "：": ": ", "、": ", ", "（": " (", "）": ") ",
    "’": "'", "‘": "'", "ʼ": "'", "“": '"', "”": '"', "…": ". ", "〜": "~", "～": "~",
})  # fmt: skip
_NAMES = {
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
_NAME_CLASS = "[" + "".join(map(re.escape, _NAMES)) + "]"

BEFORE: tuple[Rule, ...] = (
    rule(_CIRCLED, lambda m: f" {circled(m[0])} "),
    # Markdown's marks; a single asterisk between numbers multiplies.
    rule(r"\*{2,}|`+|~{2,}|(?<![\w\s)])\*|\*(?![\w\s(])|(?<![^\W_])_+|_+(?![^\W_])", " "),
)

AFTER: tuple[Rule, ...] = (
    # CO2 is "c o two", not a word.
    rule(r"\b([A-Z]{2,3})(?=\d)", lambda m: " ".join(m[1])),
    rule(r"(?<=[A-Za-z])(?=\d)|(?<=\d)(?=[A-Za-z])", " "),
    rule(r"(?<!\w)\.(?=\d)", " 0."),
    # Behind a word it marks a footnote.
    rule("[⁰¹⁴-⁹]+", lambda m: f" {digit_words(unicodedata.normalize('NFKC', m[0]))} "),
    rule(rf"{NUMBER}|\d+", lambda m: f" {decimal_words(m[0])} "),
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
