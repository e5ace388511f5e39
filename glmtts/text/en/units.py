"""Symbols of units of measure and their English names."""

from __future__ import annotations

import re

_REGULAR = {
    "nm": "nanometer", "μm": "micrometer", "mm": "millimeter", "cm": "centimeter", "dm": "decimeter", "m": "meter",
    "km": "kilometer", "yd": "yard", "yds": "yard", "mi": "mile", "nmi": "nautical mile", "ml": "milliliter",
    "mL": "milliliter", "cl": "centiliter", "dl": "deciliter", "dL": "deciliter", "L": "liter", "l": "liter",
    "μL": "microliter", "cc": "c c", "ng": "nanogram", "μg": "microgram", "mcg": "microgram", "mg": "milligram",
    "g": "gram", "kg": "kilogram", "Kg": "kilogram", "KG": "kilogram", "kgs": "kilogram", "t": "ton", "lb": "pound",
    "lbs": "pound", "oz": "ounce", "fl oz": "fluid ounce", "gal": "gallon", "qt": "quart", "tbsp": "tablespoon",
    "tsp": "teaspoon", "ha": "hectare", "ns": "nanosecond", "μs": "microsecond", "us": "microsecond",
    "ms": "millisecond", "s": "second", "sec": "second", "secs": "second", "min": "minute", "mins": "minute",
    "h": "hour", "hr": "hour", "hrs": "hour", "wk": "week", "wks": "week", "yr": "year", "yrs": "year", "mo": "month",
    "mos": "month", "kbps": "kilobit per second", "Kbps": "kilobit per second", "Mbps": "megabit per second",
    "Gbps": "gigabit per second", "Mb/s": "megabit per second", "Gb/s": "gigabit per second",
    "MB/s": "megabyte per second", "GB/s": "gigabyte per second", "KB/s": "kilobyte per second",
    "kB/s": "kilobyte per second", "bps": "bit per second", "Mbit/s": "megabit per second", "KB": "kilobyte",
    "kB": "kilobyte", "MB": "megabyte", "GB": "gigabyte", "TB": "terabyte", "PB": "petabyte", "KiB": "kibibyte",
    "MiB": "mebibyte", "GiB": "gibibyte", "TiB": "tebibyte", "Kb": "kilobit", "Mb": "megabit", "Gb": "gigabit",
    "mV": "millivolt", "V": "volt", "kV": "kilovolt", "μA": "microamp", "mA": "milliamp", "A": "amp",
    "mAh": "milliamp hour", "Ah": "amp hour", "mW": "milliwatt", "W": "watt", "kW": "kilowatt", "MW": "megawatt",
    "GW": "gigawatt", "Wh": "watt hour", "kWh": "kilowatt hour", "MWh": "megawatt hour", "GWh": "gigawatt hour",
    "mΩ": "milliohm", "Ω": "ohm", "kΩ": "kilohm", "MΩ": "megohm", "pF": "picofarad", "nF": "nanofarad",
    "μF": "microfarad", "N": "newton", "kN": "kilonewton", "Nm": "newton meter", "N·m": "newton meter", "J": "joule",
    "kJ": "kilojoule", "MJ": "megajoule", "cal": "calorie", "cals": "calorie", "kcal": "kilocalorie",
    "eV": "electron volt", "Pa": "pascal", "hPa": "hectopascal", "kPa": "kilopascal", "MPa": "megapascal",
    "bar": "bar", "mbar": "millibar", "atm": "atmosphere", "mol": "mole", "mmol": "millimole", "μmol": "micromole",
    "IU": "international unit", "dB": "decibel", "db": "decibel", "lm": "lumen", "lx": "lux", "cd": "candela",
    "px": "pixel", "pt": "point", "MP": "megapixel", "K": "kelvin", "ly": "light year", "au": "astronomical unit",
    "kt": "knot", "kts": "knot", "°": "degree", "º": "degree", "μSv": "microsievert", "mSv": "millisievert",
}  # fmt: skip
_IRREGULAR = {
    "lx": ("lux", "lux"), "cc": ("c c", "c c"), "ft": ("foot", "feet"), "in": ("inch", "inches"),
    "inch": ("inch", "inches"), "Hz": ("hertz", "hertz"), "HZ": ("hertz", "hertz"), "hz": ("hertz", "hertz"),
    "kHz": ("kilohertz", "kilohertz"), "KHz": ("kilohertz", "kilohertz"), "MHz": ("megahertz", "megahertz"),
    "GHz": ("gigahertz", "gigahertz"), "THz": ("terahertz", "terahertz"), "mph": ("mile per hour", "miles per hour"),
    "kph": ("kilometer per hour", "kilometers per hour"), "kmh": ("kilometer per hour", "kilometers per hour"),
    "mpg": ("mile per gallon", "miles per gallon"), "rpm": ("revolution per minute", "revolutions per minute"),
    "RPM": ("revolution per minute", "revolutions per minute"), "bpm": ("beat per minute", "beats per minute"),
    "fps": ("frame per second", "frames per second"), "FPS": ("frame per second", "frames per second"),
    "psi": ("pound per square inch", "pounds per square inch"), "dpi": ("dot per inch", "dots per inch"),
    "ppi": ("pixel per inch", "pixels per inch"), "ppm": ("part per million", "parts per million"),
    "mmHg": ("millimeter of mercury", "millimeters of mercury"), "inHg": ("inch of mercury", "inches of mercury"),
    "°C": ("degree celsius", "degrees celsius"), "℃": ("degree celsius", "degrees celsius"),
    "°F": ("degree fahrenheit", "degrees fahrenheit"), "℉": ("degree fahrenheit", "degrees fahrenheit"),
    "°K": ("degree kelvin", "degrees kelvin"), "hp": ("horsepower", "horsepower"), "HP": ("horsepower", "horsepower"),
    "mm2": ("square millimeter", "square millimeters"), "cm2": ("square centimeter", "square centimeters"),
    "m2": ("square meter", "square meters"), "km2": ("square kilometer", "square kilometers"),
    "ft2": ("square foot", "square feet"), "sq ft": ("square foot", "square feet"),
    **{
        f"{area}{name}{dot}": (f"{word} {one}", f"{word} {many}")
        for area, word in (("sq. ", "square"), ("cu. ", "cubic"))
        for name, one, many in (
            ("ft", "foot", "feet"), ("in", "inch", "inches"), ("mi", "mile", "miles"), ("yd", "yard", "yards"),
            ("m", "meter", "meters"), ("km", "kilometer", "kilometers"),
        )
        for dot in ("", ".")
    }, "sqft": ("square foot", "square feet"),
    "sq m": ("square meter", "square meters"), "sq mi": ("square mile", "square miles"),
    "sq km": ("square kilometer", "square kilometers"), "in2": ("square inch", "square inches"),
    "mi2": ("square mile", "square miles"), "mm3": ("cubic millimeter", "cubic millimeters"),
    "cm3": ("cubic centimeter", "cubic centimeters"), "m3": ("cubic meter", "cubic meters"),
    "ft3": ("cubic foot", "cubic feet"), "cu ft": ("cubic foot", "cubic feet"),
    "km3": ("cubic kilometer", "cubic kilometers"), "m/s2": ("meter per second squared", "meters per second squared"),
}  # fmt: skip


def _plural(name: str) -> str:
    """ "mile per hour" becomes "miles per hour"."""
    return re.sub(r"^(.*?)( per .*)?$", r"\1s\2", name)


UNITS: dict[str, tuple[str, str]] = {
    **{symbol: (name, _plural(name)) for symbol, name in _REGULAR.items()},
    **_IRREGULAR,
}
"""Symbol to singular and plural. Exponents are plain figures: m2."""

PER = {
    "h": "hour", "hr": "hour", "hour": "hour", "s": "second", "sec": "second", "second": "second", "min": "minute",
    "minute": "minute", "d": "day", "day": "day", "week": "week", "wk": "week", "month": "month", "mo": "month",
    "year": "year", "yr": "year", "night": "night", "person": "person", "user": "user", "L": "liter", "l": "liter",
    "mL": "milliliter", "ml": "milliliter", "dL": "deciliter", "dl": "deciliter", "kg": "kilogram", "g": "gram",
    "mg": "milligram", "lb": "pound", "oz": "ounce", "gal": "gallon", "gallon": "gallon", "m": "meter",
    "km": "kilometer", "cm": "centimeter", "mile": "mile", "mi": "mile", "m2": "square meter", "m3": "cubic meter",
    "cm2": "square centimeter", "cm3": "cubic centimeter", "mol": "mole", "kWh": "kilowatt hour", "K": "kelvin",
    "W": "watt", "V": "volt", "piece": "piece", "head": "head", "seat": "seat", "sqft": "square foot", "ft": "foot",
    "share": "share", "item": "item", "serving": "serving", "cup": "cup", "ton": "ton", "barrel": "barrel",
}  # fmt: skip
"""Symbol or word behind a slash to its name."""
