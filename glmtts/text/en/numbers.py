"""Numbers in English words, British style: 104 is "one hundred and four"."""

from __future__ import annotations

import unicodedata

NUMBER = r"\d{1,30}(?:,\d{3}(?!\d)){0,9}(?:\.\d{1,30})?"
"""A number, perhaps with thousands separators; a rule that starts with it must not match right behind a digit."""

_ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SCALES = ("", " thousand", " million", " billion", " trillion", " quadrillion")
_ORDINALS = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth",
    "twelve": "twelfth",
}  # fmt: skip
_LONGEST = 18


def number_words(value: int) -> str:
    """A whole number from 0 to 10^18 - 1 in words."""
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
    return " ".join(_ONES[int(digit)] for digit in digits if digit.isdecimal())


def decimal_words(number: str) -> str:
    """A number as written, of any length, thousands separators allowed: "1,002.50" is "… and two point five zero".

    A whole number with a leading zero is read digit by digit.
    """
    whole, _, fraction = number.replace(",", "").partition(".")
    if len(whole) > _LONGEST or (len(whole) > 1 and whole[0] == "0"):
        words = digit_words(whole)
    else:
        words = number_words(int(whole or 0))
    return words + (f" point {digit_words(fraction)}" if fraction else "")


def ordinal_words(value: int) -> str:
    """A whole number as an ordinal: 21 is "twenty first"."""
    before, _, last = number_words(value).rpartition(" ")
    ordinal = _ORDINALS.get(last) or (f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th")
    return f"{before} {ordinal}".strip()


def year_words(year: int) -> str:
    """A year from 1000 to 2999 in pairs: 1905 is "nineteen oh five", 2007 "two thousand seven"."""
    century, rest = divmod(year, 100)
    if century % 10 == 0 and rest < 10:
        return f"{_ONES[century // 10]} thousand" + (f" {_ONES[rest]}" if rest else "")
    if rest == 0:
        return f"{number_words(century)} hundred"
    return f"{number_words(century)} {pair_words(f'{rest:02}')}"


def pair_words(digits: str) -> str:
    """Two digits as in years and minutes: "05" is "oh five", "45" "forty five"."""
    return f"oh {_ONES[int(digits)]}" if digits[0] == "0" else number_words(int(digits))


def short_words(digits: str) -> str:
    """Three or four digits as in the names of aircraft and graphics cards: "747" is "seven forty seven", "500" "five
    hundred", "4090" "forty ninety", "9001" "nine thousand and one".
    """
    if digits[1:] == "00" or (len(digits) == 4 and digits[1:3] == "00"):
        return number_words(int(digits))
    if len(digits) == 4:
        return f"{number_words(int(digits[:2]))} {'hundred' if digits[2:] == '00' else pair_words(digits[2:])}"
    return f"{_ONES[int(digits[0])]} {pair_words(digits[1:])}"


def plural(words: str) -> str:
    """A number's words in the plural: "sixes", "fifty twos", "twenties"."""
    if words.endswith("y"):
        return words.removesuffix("y") + "ies"
    return words + ("es" if words.endswith("six") else "s")


def plural_ten(ten: str) -> str:
    """The name of a decade by its tens digit: "9" is "nineties"."""
    return "tens" if ten == "1" else _TENS[int(ten) - 2].removesuffix("y") + "ies"


def circled(char: str) -> str:
    """The number in a circle, in brackets or with a full stop: ① is "one"."""
    return number_words(int(unicodedata.numeric(char)))


def _hundreds(value: int) -> str:
    hundreds, rest = divmod(value, 100)
    words = [f"{_ONES[hundreds]} hundred"] if hundreds else []
    if rest:
        words.append(
            _ONES[rest] if rest < 20 else _TENS[rest // 10 - 2] + (f" {_ONES[rest % 10]}" if rest % 10 else "")
        )
    return " and ".join(words)
