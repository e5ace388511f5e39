"""Money in Chinese, and numbers with a scale of their own: 3k, 1.5w, 2M."""

from __future__ import annotations

import re
from decimal import Decimal

from glmtts.text.rules import Rule, rule
from glmtts.text.zh.numbers import NUMBER, cardinal, counted

_CURRENCIES = {
    "US$": "美元", "HK$": "港元", "NT$": "新台币", "AU$": "澳元", "A$": "澳元", "CA$": "加元", "C$": "加元",
    "NZ$": "新西兰元", "S$": "新加坡元", "R$": "雷亚尔", "RMB￥": "元", "RMB¥": "元", "CN¥": "元", "JP¥": "日元",
    "$": "美元", "€": "欧元", "£": "英镑", "￡": "英镑", "￥": "元", "¥": "元", "₩": "韩元", "₹": "卢比", "₽": "卢布",
    "฿": "泰铢", "₫": "越南盾", "USD": "美元", "RMB": "元", "CNY": "元", "EUR": "欧元", "GBP": "英镑", "JPY": "日元",
    "HKD": "港元", "KRW": "韩元", "AUD": "澳元", "CAD": "加元", "SGD": "新加坡元", "TWD": "新台币", "CHF": "瑞士法郎",
    "MOP": "澳门元",
}  # fmt: skip
_SCALES = {
    "k": 10**3, "K": 10**3, "m": 10**6, "M": 10**6, "mn": 10**6, "million": 10**6, "Million": 10**6, "b": 10**9,
    "B": 10**9, "bn": 10**9, "billion": 10**9, "Billion": 10**9, "T": 10**12, "trillion": 10**12,
}  # fmt: skip
_SCALE = r"(?:[kKmMbBTwW](?![A-Za-z])|mn|bn|[mM]illion|[bB]illion|trillion|[百千万亿兆]{1,3})"
_SIGN = "|".join(map(re.escape, sorted(_CURRENCIES, key=len, reverse=True)))
_CODE = "|".join(code for code in _CURRENCIES if code.isalpha())
_UNIT = r"(?:元|块钱?|人民币|美元|美金|港元|港币|欧元|英镑|日元)"
_DASH = r"\s?(?:[-–—~～]{1,2}|到|至)\s?"
_WATTS = "(?!\\s*(?:快?充|功率|的?灯|电|适配|瓦|的?音箱|的?功放))"
_PAID = (
    "薪|工资|年入|月入|收入|预算|奖金|存款|价|卖|花|付|赚|赔|亏|费|共|约|近|超|达|要|粉丝|播放|阅读|点赞|浏览|销量|人气"
)


def scaled(number: str, scale: str | None) -> str:
    """A number with its scale in words: 3.5 and M are 三百五十万, 1.5 and w 一点五万."""
    if not scale:
        return counted(number)
    if scale in "wW":
        return counted(number) + "万"
    if scale not in _SCALES:
        return counted(number) + scale
    value = Decimal(number.replace(",", "")) * _SCALES[scale]
    return cardinal(f"{value.normalize():f}")


def _amount(match: re.Match[str]) -> str:
    """A currency sign, an amount or a range of amounts, and perhaps the unit in words, which then says nothing new."""
    minus = "负" if match["minus"] or match["inner"] else ""
    first = scaled(match["first"], match["scale"] or (match["last_scale"] if match["last"] else None))
    words = minus + first
    if match["last"]:
        words = f"{minus}{first}到{scaled(match['last'], match['last_scale'])}"
    return words + _CURRENCIES[match["sign"]]


def _coded(match: re.Match[str]) -> str:
    return scaled(match[1], match[2]) + _CURRENCIES[match[3]]


def _scaled_range(match: re.Match[str]) -> str:
    return f"{scaled(match[1], match[2] or match[4])}到{scaled(match[3], match[4])}"


def _scaled(match: re.Match[str]) -> str:
    return scaled(match[1], match[2])


RULES: tuple[Rule, ...] = (
    rule(
        rf"(?P<minus>(?<![A-Za-z\d)）])[-−])?(?<![A-Za-z])(?P<sign>{_SIGN})\s?(?P<inner>[-−])?(?P<first>{NUMBER})\s?"
        rf"(?P<scale>{_SCALE})?"
        rf"(?:{_DASH}(?:{_SIGN})?\s?(?P<last>{NUMBER})\s?(?P<last_scale>{_SCALE})?(?!\s?[%月日年]))?{_UNIT}?",
        _amount,
    ),
    rule(rf"(?<![\d.])({NUMBER})\s?({_SCALE})?\s?({_CODE})(?![A-Za-z])", _coded),
    rule(rf"(?<![\d.A-Za-z])({NUMBER})([wW万kK])?{_DASH}({NUMBER})([wW](?![A-Za-z\d]){_WATTS})", _scaled_range),
    rule(
        rf"(?<![\d.A-Za-z])({NUMBER})([kK])?{_DASH}({NUMBER})([kK](?![A-Za-z\d]))(?!\s*(?:视频|分辨率|屏|画质|显示|电视))",
        _scaled_range,
    ),
    rule(rf"(?<![\d.A-Za-z])({NUMBER})(w(?![A-Za-z\d]){_WATTS})", _scaled),
    rule(
        rf"(?<![\d.A-Za-z])({NUMBER})(W(?![A-Za-z\d]))(?=\+|{_UNIT}|\s*(?:人|粉|播放|阅读|次|名|用户|辆|台|股|条))",
        _scaled,
    ),
    rule(rf"(?<=[薪入资价])({NUMBER})([wWkK](?![A-Za-z\d]))", _scaled),
    rule(
        rf"((?:{_PAID})[^\d，。,.；！？A-Za-z\n]{{0,4}})({NUMBER})([kK](?![A-Za-z\d]))",
        lambda m: m[1] + scaled(m[2], m[3]),
    ),
    rule(
        rf"(?<![\d.A-Za-z])({NUMBER})([kKmMbB](?![A-Za-z\d]))(?={_UNIT}|\+|/[月年天周]|\s?(?:人民币|粉|用户|播放|阅读|点赞|次|人|星标|字))",
        _scaled,
    ),
)
