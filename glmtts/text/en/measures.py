"""Percentages, temperatures and units of measure in English."""

from __future__ import annotations

import re
import unicodedata

from glmtts.text.en.numbers import NUMBER, decimal_words, short_words
from glmtts.text.rules import Rule, rule

_REGULAR = {
    "nm": "nanometer", "μm": "micrometer", "mm": "millimeter", "cm": "centimeter", "dm": "decimeter", "m": "meter", "km": "kilometer",
    "yd": "yard", "yds": "yard", "mi": "mile", "nmi": "nautical mile", "ml": "milliliter", "mL": "milliliter", "cl": "centiliter",
    "dl": "deciliter", "dL": "deciliter", "L": "liter", "l": "liter", "μL": "microliter", "cc": "c c", "ng": "nanogram", "μg": "microgram",
    "mcg": "microgram", "mg": "milligram", "g": "gram", "kg": "kilogram", "Kg": "kilogram", "KG": "kilogram", "kgs": "kilogram", "t": "ton",
    "lb": "pound", "lbs": "pound", "oz": "ounce", "fl oz": "fluid ounce", "gal": "gallon", "qt": "quart", "tbsp": "tablespoon", "tsp": "teaspoon",
    "ha": "hectare", "ac": "acre", "ns": "nanosecond", "μs": "microsecond", "us": "microsecond", "ms": "millisecond", "s": "second", "sec": "second",
    "secs": "second", "min": "minute", "mins": "minute", "h": "hour", "hr": "hour", "hrs": "hour", "wk": "week", "wks": "week", "yr": "year",
    "yrs": "year", "mo": "month", "mos": "month", "kbps": "kilobit per second", "Kbps": "kilobit per second", "Mbps": "megabit per second",
    "Gbps": "gigabit per second", "Mb/s": "megabit per second", "Gb/s": "gigabit per second", "MB/s": "megabyte per second",
    "GB/s": "gigabyte per second", "KB/s": "kilobyte per second", "kB/s": "kilobyte per second", "bps": "bit per second", "Mbit/s": "megabit per second",
    "KB": "kilobyte", "kB": "kilobyte", "MB": "megabyte", "GB": "gigabyte", "TB": "terabyte", "PB": "petabyte", "KiB": "kibibyte", "MiB": "mebibyte",
    "GiB": "gibibyte", "TiB": "tebibyte", "Kb": "kilobit", "Mb": "megabit", "Gb": "gigabit", "mV": "millivolt", "V": "volt", "kV": "kilovolt",
    "μA": "microamp", "mA": "milliamp", "A": "amp", "mAh": "milliamp hour", "Ah": "amp hour", "mW": "milliwatt", "W": "watt", "kW": "kilowatt",
    "MW": "megawatt", "GW": "gigawatt", "Wh": "watt hour", "kWh": "kilowatt hour", "MWh": "megawatt hour", "GWh": "gigawatt hour", "mΩ": "milliohm",
    "Ω": "ohm", "kΩ": "kilohm", "MΩ": "megohm", "pF": "picofarad", "nF": "nanofarad", "μF": "microfarad", "N": "newton", "kN": "kilonewton",
    "Nm": "newton meter", "N·m": "newton meter", "J": "joule", "kJ": "kilojoule", "MJ": "megajoule", "cal": "calorie", "cals": "calorie", "kcal": "kilocalorie",
    "eV": "electron volt", "Pa": "pascal", "hPa": "hectopascal", "kPa": "kilopascal", "MPa": "megapascal", "bar": "bar", "mbar": "millibar", "atm": "atmosphere",
    "mol": "mole", "mmol": "millimole", "μmol": "micromole", "IU": "international unit", "dB": "decibel", "db": "decibel", "lm": "lumen", "lx": "lux",
    "cd": "candela", "px": "pixel", "pt": "point", "MP": "megapixel", "K": "kelvin", "ly": "light year", "au": "astronomical unit", "kt": "knot", "kts": "knot",
    "°": "degree", "º": "degree", "μSv": "microsievert", "mSv": "millisievert",
}  # fmt: skip
_IRREGULAR = {
    "ft": ("foot", "feet"), "in": ("inch", "inches"), "inch": ("inch", "inches"), "Hz": ("hertz", "hertz"), "HZ": ("hertz", "hertz"), "hz": ("hertz", "hertz"), "kHz": ("kilohertz", "kilohertz"),
    "KHz": ("kilohertz", "kilohertz"), "MHz": ("megahertz", "megahertz"), "GHz": ("gigahertz", "gigahertz"), "THz": ("terahertz", "terahertz"),
    "mph": ("mile per hour", "miles per hour"), "kph": ("kilometer per hour", "kilometers per hour"), "kmh": ("kilometer per hour", "kilometers per hour"),
    "mpg": ("mile per gallon", "miles per gallon"), "rpm": ("revolution per minute", "revolutions per minute"), "RPM": ("revolution per minute", "revolutions per minute"),
    "bpm": ("beat per minute", "beats per minute"), "fps": ("frame per second", "frames per second"), "FPS": ("frame per second", "frames per second"),
    "psi": ("pound per square inch", "pounds per square inch"), "dpi": ("dot per inch", "dots per inch"), "ppi": ("pixel per inch", "pixels per inch"), "ppm": ("part per million", "parts per million"),
    "mmHg": ("millimeter of mercury", "millimeters of mercury"), "inHg": ("inch of mercury", "inches of mercury"),
    "°C": ("degree celsius", "degrees celsius"), "℃": ("degree celsius", "degrees celsius"), "°F": ("degree fahrenheit", "degrees fahrenheit"),
    "℉": ("degree fahrenheit", "degrees fahrenheit"), "°K": ("degree kelvin", "degrees kelvin"), "hp": ("horsepower", "horsepower"), "HP": ("horsepower", "horsepower"),
    "mm2": ("square millimeter", "square millimeters"), "cm2": ("square centimeter", "square centimeters"), "m2": ("square meter", "square meters"), "km2": ("square kilometer", "square kilometers"),
    "ft2": ("square foot", "square feet"), "sq ft": ("square foot", "square feet"), "sq. ft.": ("square foot", "square feet"), "sqft": ("square foot", "square feet"), "sq m": ("square meter", "square meters"), "sq mi": ("square mile", "square miles"), "sq km": ("square kilometer", "square kilometers"), "in2": ("square inch", "square inches"), "mi2": ("square mile", "square miles"),
    "mm3": ("cubic millimeter", "cubic millimeters"), "cm3": ("cubic centimeter", "cubic centimeters"), "m3": ("cubic meter", "cubic meters"), "ft3": ("cubic foot", "cubic feet"), "cu ft": ("cubic foot", "cubic feet"), "km3": ("cubic kilometer", "cubic kilometers"),
    "m/s2": ("meter per second squared", "meters per second squared"),
}  # fmt: skip
_UNITS = {**{symbol: (name, _plural) for symbol, name in _REGULAR.items() for _plural in [
    re.sub(r"^([a-z ]*?)( per .*)?$", lambda m: f"{m[1]}s{m[2] or ''}", name)]}, **_IRREGULAR}  # fmt: skip
_UNITS["lx"] = ("lux", "lux")
_UNITS["cc"] = ("c c", "c c")
# These are also words or letters of names, so they ask for more.
_CLOSE_ONLY = frozenset({"t", "A", "N", "J", "pt", "d", "us", "ac", "au", "K", "cd", "MP", "cal"})
_CONTEXT = {
    "in": r"(?=\.?\s?(?:x|by|tall|long|wide|high|deep|thick|screen|display|monitor|in diameter|of (?:snow|rain))\b|\.?[,;)]|\.?\s*$|\.?-)",
    "s": r"(?!\w)", "A": r"(?!\s?[-A-Z])", "mo": "(?!\\s[A-Z])", "bar": "", "t": r"(?!-)", "K": r"(?<=\d\d\dK)",
}  # fmt: skip
PER = {
    "h": "hour", "hr": "hour", "hour": "hour", "s": "second", "sec": "second", "second": "second", "min": "minute", "minute": "minute", "d": "day",
    "day": "day", "week": "week", "wk": "week", "month": "month", "mo": "month", "year": "year", "yr": "year", "night": "night", "person": "person", "user": "user",
    "L": "liter", "l": "liter", "mL": "milliliter", "ml": "milliliter", "dL": "deciliter", "dl": "deciliter", "kg": "kilogram", "g": "gram", "mg": "milligram", "lb": "pound", "oz": "ounce", "gal": "gallon",
    "gallon": "gallon", "m": "meter", "km": "kilometer", "cm": "centimeter", "mile": "mile", "mi": "mile", "m2": "square meter", "m3": "cubic meter", "cm2": "square centimeter", "cm3": "cubic centimeter", "mol": "mole", "kWh": "kilowatt hour",
    "K": "kelvin", "W": "watt", "V": "volt", "piece": "piece", "head": "head", "seat": "seat", "sqft": "square foot", "ft": "foot", "W": "watt", "share": "share", "item": "item", "serving": "serving", "cup": "cup", "ton": "ton", "barrel": "barrel",
}  # fmt: skip
_DASH = r"\s?[-–—~]\s?"
_EXPONENTS = str.maketrans("²³µΩ", "23μΩ")


# A 55" screen is a "fifty five inch screen".
_SIZED = "screen|monitor|display|tv|laptop|tablet|pipe|pizza|nail|ruler|wheel|rim|vinyl|record|telescope|skillet|pan|sub|bike|tire"


def _symbol(symbol: str) -> str:
    pattern = (
        re.escape(symbol).replace("2", r"\^?[2²]").replace("3", r"\^?[3³]").replace("μ", "[μµ]").replace("°", r"°\s?")
    )
    close = r"(?<!\s)" if symbol in _CLOSE_ONLY and len(symbol) == 1 else ""
    return (f"(?<=\\d){pattern}" if close or symbol in _CLOSE_ONLY else pattern) + _CONTEXT.get(symbol, "")


def _alternatives(symbols: dict[str, object] | dict[str, str] | dict[str, tuple[str, str]]) -> str:
    return "|".join(map(_symbol, sorted(symbols, key=len, reverse=True)))


UNIT = _alternatives(_UNITS)
"""The symbols of units, as a part of a regular expression."""
_QUANTITY = (
    rf"(?P<article>\b[Aa]n?\s)?(?<![A-Za-z\d.,])(?P<first>{NUMBER})(?:\s?(?P<repeat>{UNIT})?(?:{_DASH}|\sto\s)(?P<minus>minus )?(?P<last>{NUMBER}))?"
    rf"[\s-]?(?P<unit>{UNIT})(?:/(?P<per>{'|'.join(sorted(map(re.escape, PER), key=len, reverse=True))}))?(?![A-Za-z\d²³'])(?P<dot>\.(?=[,;]|\s+[a-z\d]))?(?P<next>/(?=\d))?"
)


def _plain(symbol: str) -> str:
    return re.sub(r"(?<=°)\s|\^", "", symbol).translate(_EXPONENTS)


def unit_name(symbol: str, per: str | None = None, *, one: bool) -> str:
    """The name of a unit by its symbol, singular or plural, perhaps per another."""
    name = _UNITS[_plain(symbol)][0 if one else 1]
    return f"{name} per {PER[per]}" if per else name


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


def _squared(match: re.Match[str]) -> str:
    """A squared symbol such as ㎏ is the unit, with or without a number before it."""
    symbol = unicodedata.normalize("NFKC", match[0]).replace("∕", "/").replace("\u2044", "/")
    after_digit = match.string[: match.start()][-1:].isdecimal()
    return symbol if after_digit or symbol not in _UNITS else f" {_UNITS[symbol][1]} "


RULES: tuple[Rule, ...] = (
    rule(r"[\u3371-\u33df]", _squared),
    rule(rf"(?<![\d.])({NUMBER})\s?(%|‰)?(?:(?:{_DASH}|\sto\s)(minus )?({NUMBER}))?\s?([%‰])", _percent),
    rule(
        rf"(?<![\d.])({NUMBER})°\s?(\d{{1,2}})['′](?:\s?(\d{{1,2}}(?:\.\d{{1,4}})?)(?:[\"″]|''))?",
        lambda m: (
            f"{decimal_words(m[1])} degrees {decimal_words(m[2])} minutes"
            + (f" {decimal_words(m[3])} seconds" if m[3] else "")
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
    rule(r"(?<![\w.])(\d{3,4})(?=p\b)", lambda m: _resolution(m[1])),
    rule(_QUANTITY, _quantity),
)
PRESSURES: tuple[Rule, ...] = (
    rule(r"(?<![\d/.])(\d{2,3})/(\d{2,3})(?=\s?mmHg)", lambda m: f"{decimal_words(m[1])} over {m[2]}"),
)
"""Blood pressures, which are no fractions."""


def _feet_inches(feet: str, inches: str) -> str:
    return f"{decimal_words(feet)} {'foot' if feet == '1' else 'feet'} {decimal_words(inches)} inch{'' if inches == '1' else 'es'}"


def _resolution(lines: str) -> str:
    """1080p is "ten eighty p"."""
    if len(lines) == 3:
        return f"{short_words(lines)} "
    return f"{decimal_words(lines[:2])} {decimal_words(lines[2:].lstrip('0') or '0')} "
