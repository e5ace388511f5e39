"""How an English text is spoken: what the grammar would misread first, then the grammar, then clean-up.

Knows nothing about Chinese.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SCALES = ("", " thousand", " million", " billion", " trillion", " quadrillion")
_PUNCTUATION = str.maketrans({"，": ", ", "。": ". ", "！": "! ", "？": "? ", "；": "; ", "：": ": ", "、": ", "})
_CURRENCY = {"$": "dollars", "€": "euros", "£": "pounds", "￥": "yuan"}
_NAMES = {
    "<": " less than ", ">": " greater than ", "=": " equals ", "±": " plus or minus ", "²": " squared", "³": " cubed",
    "‰": " per mille", "½": " 1/2", "¼": " 1/4", "¾": " 3/4", "⅓": " 1/3", "⅔": " 2/3",
}  # fmt: skip
_END = r"(?!\d|,\d)"
_THOUSAND = r"1,\d{3}"
"""What the grammar would call "thousand …", without the one."""
_PHONE = re.compile(
    r"(?<![\d-])(?:\+?(1)[-. ])?\(?(\d{3})\)?[-. ](\d{3})[-.](\d{4})(?![\d-])|(?<![\d-])(\d{3})-(\d{4})(?![\d-])"
)


def speak(text: str, grammar: Callable[[str], str], *, keep: str) -> str:
    """One line of English as it is spoken, in lower case; characters of the class `keep` are left alone.

    `grammar` writes plain numbers, dates and measures out.
    """
    text = _numbers(_signs(text.translate(_PUNCTUATION)).replace("'", "’"))
    text = _leftover(_grammatical(text, grammar).replace("’", "'")).lower()
    # An apostrophe inside a word belongs to it; anywhere else it is a quotation mark.
    text = re.sub(r"(?<![^\W\d_])'|'(?![^\W\d_])", " ", text)
    text = re.sub(rf"[^\w\s.,!?':;{keep}]|_", " ", text)
    text = re.sub(r"([.,?!:;])(?:\s*\1)+", r"\1", re.sub(r"\s+", " ", text))
    return re.sub(r"\s*([.,?!:;])\s*", r"\1 ", text).strip()


def number_words(value: int) -> str:
    """A whole number from 0 to 10^18 - 1 in words, British style: 104 is "one hundred and four"."""
    groups: list[str] = []
    rest = value
    for scale in _SCALES:
        rest, group = divmod(rest, 1000)
        if group:
            joint = "and " if not groups and not scale and rest and group < 100 else ""
            groups.append(joint + _hundreds(group) + scale)
    return " ".join(reversed(groups)) or _ONES[0]


def digit_words(digits: str) -> str:
    """Digit by digit: "007" is "zero zero seven"."""
    return " ".join(_ONES[int(digit)] for digit in digits)


def _hundreds(value: int) -> str:
    hundreds, rest = divmod(value, 100)
    words = [f"{_ONES[hundreds]} hundred"] if hundreds else []
    if rest:
        words.append(
            _ONES[rest] if rest < 20 else _TENS[rest // 10 - 2] + (f" {_ONES[rest % 10]}" if rest % 10 else "")
        )
    return " and ".join(words)


def _decimal_words(number: str) -> str:
    """A number as written, thousands separators allowed, any length."""
    whole, _, fraction = number.replace(",", "").partition(".")
    words = number_words(int(whole)) if len(whole) <= 18 else digit_words(whole)
    return words + (f" point {digit_words(fraction)}" if fraction.strip("0") else "")


def _numbers(text: str) -> str:
    """What the grammar reads wrongly, written so that it has no choice."""
    text = re.sub(r"(?<=[\d%])\s*[–—~]\s*(?=\d)|(?<=%)\s*-\s*(?=\d)|(?<=\d)-(?=\d[\d.]*%)", " to ", text)
    text = re.sub(r"\b24/7\b", "twenty four seven", text)
    text = re.sub(r"\bNos?\.\s*(?=\d)|#(?=\d)", "number ", text)
    text = _PHONE.sub(lambda m: ", ".join(digit_words(part) for part in m.groups() if part), text)
    text = re.sub(r"(?<![\w.])\+(?=\d)", "plus ", text)
    text = re.sub(r"([$€£])\s*[-−](?=\d)", r"-\1", text)
    text = re.sub(r"(?<![\w.)])(?:minus\s+)?[-−](?=[$€£]?\.?\d)", "minus ", text)
    text = re.sub(rf"([$€£])\s*({_THOUSAND}|1\d{{3}})(\.\d+)?{_END}|(￥)\s*(\d[\d,]*)(\.\d+)?", _money, text)
    text = re.sub(rf"(?<![\d,.$€£])({_THOUSAND})(\.\d+)?{_END}", lambda m: _decimal_words(m[0]), text)
    text = _decades(text)
    text = re.sub(r"\b(\d[\d,.]*)\s?m\b", r"\1 meters", text)
    # A hyphen or a v before a number is no minus and no ordinal: GPT-4.5, COVID-19, v2.0, 7-Eleven.
    text = re.sub(r"\b([vV])(?=\d+\.\d)|(?<=[A-Za-z])-(?=\d)|(?<=\d)-(?=[A-Za-z])", lambda m: f"{m[1] or ''} ", text)
    text = re.sub(r"\b\d+(?:\.\d+){2,}\b", lambda m: " point ".join(map(_decimal_words, m[0].split("."))), text)
    return re.sub(r"\b(\d{3,})(?=[A-Z]\b)", lambda m: f"{_decimal_words(m[1])} ", text)


def _signs(text: str) -> str:
    """Operators by name, Markdown's marks gone, fractions as the grammar reads them."""
    text = re.sub(r"(?<=\d)\s*-\s*(\d[\d.]*)(?=\s*=)", r" minus \1", text)
    text = re.sub(r"(\d)\^(-?\d)", r"\1 to the power of \2", text)
    text = re.sub(r"(?<=\w)\s*(?:×|(?<=\d)\*(?=\d))\s*(?=\w)", " times ", text)
    text = re.sub(r"(?<=[\d\s])([<>])(?=[\d\s])", lambda m: _NAMES[m[1]], text)
    text = re.sub("[=±²³‰½¼¾⅓⅔]", lambda m: _NAMES[m[0]], text)
    return re.sub(r"[*`~^]+|(?<![^\W_])_+|_+(?![^\W_])", " ", text)


def _decades(text: str) -> str:
    """1990s, '90s and 80's: the grammar takes the s for seconds."""
    text = re.sub(r"\b(1\d|20)([1-9])0’?s\b", lambda m: f"{number_words(int(m[1]))} {_plural(m[2])}", text)
    text = re.sub(r"\b(1\d)00’?s\b", lambda m: f"{number_words(int(m[1]))} hundreds", text)
    text = re.sub(r"\b2000’?s\b", "two thousands", text)
    return re.sub(r"(?:’|(?<![\d,.$]))([2-9])0’?s\b", lambda m: _plural(m[1]), text)


def _plural(ten: str) -> str:
    return "tens" if ten == "1" else _TENS[int(ten) - 2].removesuffix("y") + "ies"


def _money(match: re.Match[str]) -> str:
    sign, whole, fraction = match.groups()[:3] if match[1] else match.groups()[3:]
    return f"{_decimal_words(whole + (fraction or ''))} {_CURRENCY[sign]}"


def _grammatical(text: str, grammar: Callable[[str], str]) -> str:
    """The grammar word by word where it refuses the whole: it asserts on signs such as # that it does not know."""
    try:
        return grammar(text)
    except (AssertionError, IndexError):
        words = text.split(" ")
    if len(words) == 1:
        return text
    half = len(words) // 2
    return " ".join(_grammatical(" ".join(part), grammar) for part in (words[:half], words[half:]))


def _leftover(text: str) -> str:
    """Digits that the grammar left."""
    return re.sub(r"\d+", lambda m: f" {_decimal_words(m[0])} ", text)
