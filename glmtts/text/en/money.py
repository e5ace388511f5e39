"""Money in English, and numbers with a scale of their own: 10k, 5M users."""

from __future__ import annotations

import re

from glmtts.text.en.numbers import NUMBER, decimal_words, number_words
from glmtts.text.rules import Rule, rule

# Singular, plural, and the hundredth part, singular and plural.
_DOLLAR = ("dollar", "dollars", "cent", "cents")
_CURRENCIES: dict[str, tuple[str, str, str, str]] = {
    "$": _DOLLAR,
    "€": ("euro", "euros", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "￥": ("yuan", "yuan", "", ""),
    "¥": ("yen", "yen", "", ""),
    "Rs.": ("rupee", "rupees", "paisa", "paise"),
    "Rs": ("rupee", "rupees", "paisa", "paise"),
    "₿": ("bitcoin", "bitcoins", "", ""),
    "₹": ("rupee", "rupees", "paisa", "paise"),
    "₩": ("won", "won", "", ""),
    "₽": ("ruble", "rubles", "kopeck", "kopecks"),
    "฿": ("baht", "baht", "", ""),
    **{
        sign: (f"{name} dollar", f"{name} dollars", "cent", "cents")
        for sign, name in {
    "US$": "u s", "USD$": "u s", "HK$": "hong kong",
    "A$": "australian", "AU$": "australian", "C$": "canadian", "CA$": "canadian",
    "NZ$": "new zealand", "S$": "singapore", "NT$": "taiwan", "USD": "u s", "AUD": "australian", "CAD": "canadian",
    "HKD": "hong kong",
        }.items()
    },
    "EUR": ("euro", "euros", "cent", "cents"),
    "GBP": ("british pound", "british pounds", "penny", "pence"),
    "JPY": ("japanese yen", "japanese yen", "", ""),
    "CNY": ("chinese yuan", "chinese yuan", "", ""),
    "RMB": ("renminbi", "renminbi", "", ""),
    "CHF": ("swiss franc", "swiss francs", "", ""),
    "INR": ("indian rupee", "indian rupees", "", ""),
}  # fmt: skip
_SCALES = {
    "k": "thousand", "K": "thousand", "m": "million", "M": "million", "mn": "million", "mm": "million",
    "MM": "million", "b": "billion", "B": "billion", "bn": "billion", "t": "trillion", "T": "trillion",
    "tn": "trillion", "trn": "trillion",
}  # fmt: skip
_WORD_SCALES = "hundred|thousand|million|billion|trillion"
_SCALE = rf"(?:(?:mn|mm|MM|bn|trn|tn|[kKmMbBtT])(?![A-Za-z\d])|(?:{_WORD_SCALES})(?![A-Za-z]))"
_AMOUNT = rf"(?:{NUMBER}|\.\d{{1,9}})"
_SIGN = "|".join(map(re.escape, sorted(_CURRENCIES, key=len, reverse=True)))
_CODE = "|".join(code for code in _CURRENCIES if code.isalpha())
_DASH = r"(?:\s?[-–—~]\s?|\sto\s(?=[$€£¥]))"
_PEOPLE = (
    r"(?:\w{1,20}\s)?(?:people|users|views|followers|subscribers|downloads|viewers|copies|dollars|euros|pounds|"
    r"units|likes|jobs|homes|parameters|params|"
    r"tokens|records|rows|requests|steps|residents|customers|members|items|lines|words|times|visitors|tons|tonnes|"
    r"barrels|years|"
    r"fans|players|students|tweets|votes|employees|households|miles|stars)\b"
)
_SCREENS = (
    r"(?!\s?(?:TV|TVs|video|videos|resolution|screen|screens|display|displays|monitor|monitors|UHD|run|race|"
    r"camera|footage|HDR|Blu))"
)


def _scaled(number: str, scale: str | None) -> str:
    words = decimal_words(number if number[0] != "." else f"0{number}")
    return f"{words} {_SCALES.get(scale, scale)}" if scale else words


def _money(match: re.Match[str]) -> str:
    """An amount or a range of amounts behind a currency sign."""
    currency, first, scale = _CURRENCIES[match["sign"]], match["first"], match["scale"]
    if match["last"]:
        first_scale = scale if match["repeat"] or scale else None
        return f"{_scaled(first, first_scale)} to {_scaled(match['last'], match['last_scale'])} {currency[1]}"
    if scale:
        adjective = match["article"] and re.match(r"\s[a-z]", match.string[match.end() :][:2])
        return f"{match['article'] or ''}{_scaled(first, scale)} {currency[0] if adjective else currency[1]}"
    adjective = match["article"] and re.match(r"[\s-][a-z]", match.string[match.end() : match.end() + 2])
    return (match["article"] or "") + _units(first, currency, singular=bool(adjective))


def _units(amount: str, currency: tuple[str, str, str, str], *, singular: bool = False) -> str:
    """ "1.50" is "one dollar and fifty cents"; where the currency has no cents, "one point five zero yuan"."""
    one, many, cent, cents = currency
    whole, _, fraction = amount.partition(".")
    if not fraction.strip("0"):
        amount, fraction = whole, ""
    if len(fraction) != 2 or not cent:
        return f"{decimal_words(amount if whole else f'0{amount}')} {one if amount == '1' or singular else many}"
    parts = []
    if whole.strip("0") or not fraction.strip("0"):
        parts.append(f"{decimal_words(whole)} {one if whole == '1' or singular else many}")
    if fraction.strip("0"):
        parts.append(f"{number_words(int(fraction))} {cent if fraction == '01' else cents}")
    return " and ".join(parts)


def _coded(match: re.Match[str]) -> str:
    currency = _CURRENCIES[match[3]]
    return f"{_scaled(match[1], match[2])} {currency[0] if match[1] == '1' and not match[2] else currency[1]}"


def _number(match: re.Match[str]) -> str:
    return _scaled(match[1], match[2])


RULES: tuple[Rule, ...] = (
    rule(r"€\s?(\d{1,6}),(\d\d)(?!\d|,\d)", r"€\1.\2"),
    rule(
        rf"(?P<article>\b[Aa]n?\s)?(?<![A-Za-z])(?P<sign>{_SIGN})\s?(?P<first>{_AMOUNT})(?:[\s-]?(?P<scale>{_SCALE}))?"
        rf"(?:{_DASH}(?P<repeat>{_SIGN})?\s?(?P<last>{_AMOUNT})(?:[\s-]?(?P<last_scale>{_SCALE}))?(?![%\d]|\.\d|-\d))?",
        _money,
    ),
    rule(rf"(?<![\d.])({_AMOUNT})\s?({_SCALE})?\s?({_CODE})\b", _coded),
    rule(
        r"¢\s?(\d{1,9})|(?<![\d.])(\d{1,9})\s?¢",
        lambda m: f"{number_words(int(m[1] or m[2]))} cent{'' if (m[1] or m[2]) == '1' else 's'}",
    ),
    rule(
        rf"(?<![\w.])({NUMBER})([kKmMbB]){_DASH}({NUMBER})([kKmMbB])(?![A-Za-z\d])",
        lambda m: f"{_scaled(m[1], m[2])} to {_scaled(m[3], m[4])}",
    ),
    rule(
        rf"(?<![\w.])({NUMBER}){_DASH}({NUMBER})([kKM])(?![A-Za-z\d])",
        lambda m: f"{decimal_words(m[1])} to {_scaled(m[2], m[3])}",
    ),
    rule(
        rf"(?<![\w.])(?![248]K\b)({NUMBER})(?:([kK])(?![A-Za-z\dΩ]){_SCREENS}|(M|bn|mn)(?![A-Za-z\d]))(?!\sCompany)",
        lambda m: _scaled(m[1], m[2] or m[3]),
    ),
    rule(rf"(?<![\w.])({NUMBER})([mbBK])(?=\s{_PEOPLE})", _number),
    rule(r"(?<![\w.])(\d{1,9}\.\d{1,3})(B)(?![A-Za-z\d])", _number),
)
