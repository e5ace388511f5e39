"""Clock times and durations in English."""

from __future__ import annotations

import re

from glmtts.text.en.numbers import decimal_words, number_words, pair_words
from glmtts.text.rules import Rule, rule

_DASH = r"\s?[-–—~]\s?"
_HALF = r"\s?(?P<half>[AaPp])\.?\s?[Mm]\b(?:\.(?=\s+[a-z]|,))?"
_CLOCK = r"(?<![\d:.])(?P<hour>[01]?\d|2[0-4]):(?P<minute>[0-5]\d)(?::(?P<second>[0-5]\d)(?:\.\d{1,6})?)?(?![\d:]|\.\d)"
_ZONE = r"(?:Z\b|[+-]\d{2}:\d{2}\b)?"
# Behind these words colons separate what something takes.
_TAKES = (
    "took|lasted|lasting|takes|lasts|duration|runtime|length|time of|time was|time is|record of|record is|"
    "split of|pace of|total of|clocked|timed at|finished in|done in|ran it in|ran in|won in|completed in|within|"
    "swam in|rode in|in a time of|timer|elapsed|remaining|left"
)


def _clock(match: re.Match[str]) -> str:
    hour, minute, second = int(match["hour"]), match["minute"], match["second"]
    words = number_words(hour)
    if second and second != "00":
        return f"{words} {_minute(minute)} and {number_words(int(second))} second{'' if second == '01' else 's'}"
    if minute != "00":
        return f"{words} {_minute(minute)}"
    return f"{words} o'clock" if 1 <= hour <= 12 else f"{words} hundred"


def _minute(minute: str) -> str:
    return "oh oh" if minute == "00" else pair_words(minute)


def _half_day(match: re.Match[str]) -> str:
    minute = match["minute"]
    words = number_words(int(match["hour"])) + (f" {_minute(minute)}" if minute and minute != "00" else "")
    return f"{words} {match['half'].lower()} m"


def _half_range(match: re.Match[str]) -> str:
    minute = match["first_minute"]
    first = number_words(int(match["first"])) + (f" {_minute(minute)}" if minute and minute != "00" else "")
    return f"{first} {match['first_half'].lower()} m to " if match["first_half"] else f"{first} to "


def _duration(match: re.Match[str]) -> str:
    hours, minutes, seconds = match["hours"], match["minutes"], match["seconds"]
    fraction = f".{match['fraction']}" if match["fraction"] else ""
    parts = [(hours, "hour"), (minutes, "minute"), (seconds + fraction, "second")]
    spoken = [_amount(number, unit) for number, unit in parts if number and float(number)]
    return match["before"] + (" ".join(spoken) or "zero seconds")


def _amount(number: str, unit: str) -> str:
    plain = number.lstrip("0") if "." not in number else re.sub(r"^0+(?=\d)", "", number)
    return f"{decimal_words(plain)} {unit}{'' if plain == '1' else 's'}"


RULES: tuple[Rule, ...] = (
    rule(
        rf"(?P<before>\b(?:{_TAKES})[^\w.;!?]{{0,2}}(?:(?:was|is|of|about|just|only|exactly|over|under|in)\s){{0,2}})"
        r"(?:(?P<hours>\d{1,3}):)?(?P<minutes>\d{1,3}):(?P<seconds>[0-5]\d)(?:\.(?P<fraction>\d{1,3}))?(?![\d:])",
        _duration,
    ),
    # With seconds, and no word that asks for a time of day before it, three fields are a duration.
    rule(
        r"(?P<before>(?<!at )(?<!from )(?<!until )(?<!by )(?<!to )(?<!till )(?<!since )(?<!after )(?<!before )"
        r"(?<!around )(?<![\d:.T]))(?<!four )(?P<hours>\d):(?P<minutes>[0-5]\d):"
        r"(?P<seconds>[0-5]\d)(?:\.(?P<fraction>\d{1,3}))?(?![\d:]|\s?[AaPp]\.?[Mm])",
        _duration,
    ),
    rule(
        r"(?<![\d:.])(?P<first>[01]?\d)(?::(?P<first_minute>[0-5]\d))?(?:\s?"
        rf"(?P<first_half>[AaPp])\.?\s?[Mm]\.?)?{_DASH}(?=[01]?\d(?::[0-5]\d)?{_HALF.replace('?P<half>', '')})",
        _half_range,
    ),
    rule(rf"(?<![\d:.$])(?P<hour>[01]?\d)(?::(?P<minute>[0-5]\d))?{_HALF}", _half_day),
    rule(rf"{_CLOCK}(?={_DASH}(?:[01]?\d|2[0-4]):[0-5]\d)({_DASH})", lambda m: _clock(m) + " to "),
    rule(
        r"(?<![\d:.])(?P<before>)(?P<hours>)(?P<minutes>\d{1,2}):(?P<seconds>[0-5]\d)\.(?P<fraction>\d{1,3})(?![\d:]|\.\d)",
        _duration,
    ),
    rule(rf"{_CLOCK}{_ZONE}(?:\s?o'clock)?", _clock),
    rule(
        r"(?<![\d.:,])(\d{1,5}(?:\.\d{1,3})?)((?::\d{1,5}(?:\.\d{1,3})?){1,4})(?![\d:])",
        lambda m: " to ".join(map(decimal_words, (m[1] + m[2]).split(":"))),
    ),
    rule(
        r"(?<![A-Za-z\d.])(\d{1,3})h\s?(\d{1,2})m(?:in)?(?:\s?(\d{1,2})s)?(?![A-Za-z\d])",
        lambda m: " ".join(
            _amount(number, unit)
            for number, unit in zip(m.groups(), ("hour", "minute", "second"), strict=True)
            if number
        ),
    ),
    rule(
        r"(?<![A-Za-z\d.])(\d{1,3})m(?:in)?\s?(\d{1,2})s(?:ec)?(?![A-Za-z\d])",
        lambda m: f"{_amount(m[1], 'minute')} {_amount(m[2], 'second')}",
    ),
)
