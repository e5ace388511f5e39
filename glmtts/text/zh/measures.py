"""Percentages, temperatures and units of measure in Chinese."""

from __future__ import annotations

import re
import unicodedata

from glmtts.text.rules import Rule, rule
from glmtts.text.zh.numbers import NUMBER, cardinal, counted
from glmtts.text.zh.units import PER, UNITS

# Letters that also stand in names (5G, 3D, 4K, 1s) are units only under these conditions.
_DOUBTFUL = {
    "K": r"(?<=\d\.\d\dK)",
    "ps": r"(?=匹|发动)",
    "t": r"(?!恤|[台型])",
    "in": r"(?!\s?[A-Za-z])",
    "N": r"(?!次|多|年|个|代|卡|刷|遍|倍|种|久|天|人)",
}
_GENERATIONS = (
    "(?!网|手机|信号|套餐|时代|通信|技术|基站|内存|存储|运存|显存|流量|硬盘|版|芯片|标准|频段|用户|商用|消息|U盘|\\+)"
)
_DOUBTFUL["g"] = _GENERATIONS
_DASH = r"\s?(?:[-–—~～]{1,2}|到|至)\s?"
_EXPONENTS = str.maketrans("²³µΩ", "23μΩ", "^")


def _symbol(symbol: str) -> str:
    """A symbol's pattern: exponents may be raised, micro and ohm have two code points each."""
    pattern = (
        re.escape(symbol).replace("2", r"\^?[2²]").replace("3", r"\^?[3³]").replace("μ", "[μµ]").replace("°", r"°\s?")
    )
    return pattern + _DOUBTFUL.get(symbol, "")


def _alternatives(symbols: dict[str, str]) -> str:
    return "|".join(map(_symbol, sorted(symbols, key=len, reverse=True)))


_QUANTITY = (
    rf"(?<![A-Za-z\d.])(?P<first>{NUMBER})(?:(?P<repeat>{_alternatives(UNITS)})?{_DASH}(?P<minus>负|零下)?"
    rf"(?P<last>{NUMBER}))?"
    rf"\s?(?P<unit>{_alternatives(UNITS)})(?:/(?P<per>{_alternatives(PER)}))?(?![A-Za-z\d²³])(?P<next>/(?=\d))?"
)


def _plain(symbol: str) -> str:
    return symbol.replace(" ", "").translate(_EXPONENTS)


def _quantity(match: re.Match[str]) -> str:
    """A number or a range with its unit: 1.5-2L is 一点五到两升."""
    number = cardinal if "度" in UNITS[_plain(match["unit"])] else counted
    words = number(match["first"])
    unit = UNITS[_plain(match["unit"])]
    if match["repeat"]:
        words += UNITS[_plain(match["repeat"])]
    if match["last"]:
        words += f"到{match['minus'] or ''}{number(match['last'])}"
    if match["per"]:
        unit += f"每{PER[_plain(match['per'])]}"
    return words + unit + ("，" if match["next"] else "")


def _percent(match: re.Match[str]) -> str:
    name = "百分之" if match[2] == "%" else "千分之"
    number = "百" if match[1] == "100" and match[2] == "%" else cardinal(match[1])
    return f"{name}{number}"


def _percent_range(match: re.Match[str]) -> str:
    minus, first, sign, last_minus, last, _ = match.groups()
    name = {"%": "百分之", "‰": "千分之"}[match[6]]
    repeated = name if sign or last_minus else ""
    return f"{'负' if minus else ''}{name}{cardinal(first)}到{'负' if last_minus else ''}{repeated}{cardinal(last)}"


def _squared(match: re.Match[str]) -> str:
    """A squared symbol such as ㎡ is the unit, with or without a number before it."""
    symbol = unicodedata.normalize("NFKC", match[0]).replace("∕", "/").replace("\u2044", "/")
    return UNITS.get(_plain(symbol), symbol)


def _duration(match: re.Match[str]) -> str:
    parts = zip(match.groups(), ("小时", "分钟", "秒"), strict=True)
    return "".join(counted(str(int(number))) + unit for number, unit in parts if number)


PERCENTAGES: tuple[Rule, ...] = (
    rule(rf"((?<![A-Za-z\d)）%])[-−])?(?<![\d.])({NUMBER})([%‰])?{_DASH}([-−])?({NUMBER})([%‰])", _percent_range),
    rule(rf"(?<![A-Za-z\d)）%])\+(?={NUMBER}[%‰])", "正"),
    rule(rf"(?<![\dA-Za-z)）%])[-−](?={NUMBER}[%‰])", "负"),
    rule(rf"(?<![\d.])({NUMBER})\s?([%‰])", _percent),
    rule(rf"(?<![\d.])({NUMBER})\s?‱", lambda m: f"万分之{cardinal(m[1])}"),
)

RULES: tuple[Rule, ...] = (
    rule(r"(?<![A-Za-z\d.])(?:(\d{1,3})h)(\d{1,2})m(?:in)?(?:(\d{1,2})s)?(?![A-Za-z\d])", _duration),
    rule(r"(?<![A-Za-z\d.])()(\d{1,3})min(\d{1,2})s(?![A-Za-z\d])", _duration),
    rule(r"[\u3371-\u33df]", _squared),
    # A doubled unit says it once: 5km公里.
    rule(r"((?:高压|血压|压)[^\d，。；\n]{0,4})(\d{2,3})/(\d{2,3})", lambda m: f"{m[1]}{cardinal(m[2])}，{m[3]}"),
    rule(r"(?<![\d.])(\d{2,3})/(\d{2,3})(?=\s?mm[Hh]g)", lambda m: f"{cardinal(m[1])}，{m[2]}"),
    rule(r"第(\d{1,5})/(\d{1,5})(?=[页题集章条步])", lambda m: f"第{cardinal(m[1])}，共{cardinal(m[2])}"),
    rule(
        rf"(?<![\d/.A-Za-z])(\d{{1,3}})/(\d{{1,5}})\s?({_alternatives(UNITS)})(?![A-Za-z\d²³/])",
        lambda m: (
            f"{cardinal(m[2])}分之{cardinal(m[1])}{UNITS[_plain(m[3])]}" if int(m[1]) < min(int(m[2]), 20) else m[0]
        ),
    ),
    rule(r"(?<=[\dLlh升度])/100\s?(?:km|KM|公里|千米)(?![A-Za-z\d])", "每百公里"),
    rule(_QUANTITY, _quantity),
    rule(
        rf"(?<![A-Za-z\d/.])(km|m|cm|kg|g|mg|μg|ng|mmol|mol|kJ|kcal|W)/({_alternatives(PER)})(?![A-Za-z\d²³/])",
        lambda m: f"{UNITS[m[1]]}每{PER[_plain(m[2])]}",
    ),
    rule(r"(?<![A-Za-z])PM\s?(2\.5|10)(?![\d.]*\d)", lambda m: f"pm{cardinal(m[1])}"),
    rule(r"(?<![\d.])(\d{1,6})A(?=[，。,./、的]|$|电|保险|空开|插座|以)", lambda m: f"{cardinal(m[1])}安"),
    rule(rf"(?<=[\d℃])\s?{_DASH}(?=零下)", "到"),
    rule(
        rf"(?<=[次滴转步字元块角米克升人粒个度])/({_alternatives(PER)})(?![A-Za-z\d])",
        lambda m: f"每{PER[_plain(m[1])]}",
    ),
)
