"""Percentages, temperatures and units of measure in Chinese."""

from __future__ import annotations

import re
import unicodedata

from glmtts.text.rules import Rule, rule
from glmtts.text.zh.numbers import NUMBER, cardinal, counted

_UNITS = {
    # length, area, volume, mass
    "nm": "纳米", "μm": "微米", "um": "微米", "mm": "毫米", "cm": "厘米", "dm": "分米", "m": "米", "km": "公里",
    "mm2": "平方毫米", "cm2": "平方厘米", "dm2": "平方分米", "m2": "平方米", "km2": "平方公里", "hm2": "公顷", "ha": "公顷",
    "mm3": "立方毫米", "cm3": "立方厘米", "dm3": "立方分米", "m3": "立方米", "cc": "毫升",
    "ml": "毫升", "mL": "毫升", "ML": "毫升", "dL": "分升", "cl": "厘升", "L": "升", "l": "升", "μL": "微升", "μl": "微升",
    "ng": "纳克", "μg": "微克", "ug": "微克", "mcg": "微克", "mg": "毫克", "g": "克", "kg": "千克", "KG": "千克", "Kg": "千克", "t": "吨",
    "ft": "英尺", "inch": "英寸", "in": "英寸", "yd": "码", "mi": "英里", "mile": "英里", "miles": "英里", "nmi": "海里",
    "lb": "磅", "lbs": "磅", "oz": "盎司", "gal": "加仑", "sqm": "平方米", "sqft": "平方英尺", "ft2": "平方英尺",
    # time, frequency, speed
    "ns": "纳秒", "μs": "微秒", "ms": "毫秒", "s": "秒", "sec": "秒", "min": "分钟", "mins": "分钟", "h": "小时", "hr": "小时",
    "hrs": "小时", "Hz": "赫兹", "HZ": "赫兹", "hz": "赫兹", "kHz": "千赫兹", "KHz": "千赫兹", "MHz": "兆赫兹", "GHz": "吉赫兹",
    "THz": "太赫兹", "rpm": "转每分钟", "RPM": "转每分钟", "bpm": "次每分钟", "mph": "英里每小时", "kph": "公里每小时", "fps": "帧每秒",
    "FPS": "帧每秒",
    "km/h": "公里每小时", "KM/H": "公里每小时", "m/s": "米每秒", "m/s2": "米每二次方秒", "cm/s": "厘米每秒", "km/s": "公里每秒", "r/min": "转每分钟",
    # electricity, energy, force, pressure
    "μV": "微伏", "mV": "毫伏", "V": "伏", "kV": "千伏", "KV": "千伏", "μA": "微安", "mA": "毫安", "mAh": "毫安时", "mah": "毫安时", "Ah": "安时",
    "mW": "毫瓦", "W": "瓦", "kW": "千瓦", "KW": "千瓦", "MW": "兆瓦", "GW": "吉瓦", "Wh": "瓦时", "kWh": "千瓦时", "KWh": "千瓦时", "kwh": "千瓦时",
    "kW·h": "千瓦时", "MWh": "兆瓦时", "GWh": "吉瓦时", "mΩ": "毫欧", "Ω": "欧姆", "kΩ": "千欧", "KΩ": "千欧", "MΩ": "兆欧", "pF": "皮法", "nF": "纳法",
    "μF": "微法", "mH": "毫亨", "N": "牛", "kN": "千牛", "N·m": "牛米", "Nm": "牛米", "J": "焦耳", "kJ": "千焦", "KJ": "千焦", "MJ": "兆焦",
    "cal": "卡", "kcal": "千卡", "Kcal": "千卡", "eV": "电子伏特", "Pa": "帕", "hPa": "百帕", "kPa": "千帕", "MPa": "兆帕", "bar": "巴", "psi": "磅每平方英寸",
    "mmHg": "毫米汞柱", "mmhg": "毫米汞柱", "cmH2O": "厘米水柱", "atm": "标准大气压", "hp": "马力", "Hp": "马力", "HP": "马力", "ps": "马力",
    # chemistry, medicine, light, sound
    "mol": "摩尔", "mmol": "毫摩尔", "μmol": "微摩尔", "nmol": "纳摩尔", "IU": "国际单位", "mU": "毫单位", "U/L": "单位每升", "IU/L": "国际单位每升", "ppm": "ppm", "dB": "分贝", "db": "分贝",
    "dBm": "分贝毫瓦", "lm": "流明", "lx": "勒克斯", "cd": "坎德拉", "nit": "尼特", "nits": "尼特", "Bq": "贝克勒尔", "mSv": "毫西弗", "μSv": "微西弗",
    "bps": "比特每秒", "kbps": "千比特每秒", "Kbps": "千比特每秒", "Mbps": "兆比特每秒", "mbps": "兆比特每秒", "Gbps": "吉比特每秒",
    # angle, temperature
    "℃": "摄氏度", "°C": "摄氏度", "℉": "华氏度", "°F": "华氏度", "°": "度", "º": "度", "K": "开尔文",
}  # fmt: skip
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
_PER = {
    "h": "小时", "s": "秒", "min": "分钟", "d": "天", "day": "天", "L": "升", "l": "升", "mL": "毫升", "ml": "毫升", "dL": "分升", "kg": "千克",
    "g": "克", "mg": "毫克", "m": "米", "km": "公里", "cm": "厘米", "m2": "平方米", "m3": "立方米", "cm2": "平方厘米", "cm3": "立方厘米", "mol": "摩尔",
    "K": "开尔文", "W": "瓦", "V": "伏", "kWh": "千瓦时", "月": "月", "天": "天", "日": "日", "年": "年", "次": "次", "人": "人", "周": "周", "分": "分", "秒": "秒", "小时": "小时", "分钟": "分钟", "升": "升", "瓶": "瓶", "盒": "盒", "片": "片", "晚": "晚", "亩": "亩", "平米": "平米", "平方米": "平方米", "斤": "斤", "吨": "吨", "立方米": "立方米", "位": "位", "份": "份", "件": "件", "个": "个",
}  # fmt: skip
_DASH = r"\s?(?:[-–—~～]{1,2}|到|至)\s?"
_EXPONENTS = str.maketrans("²³µΩ", "23μΩ", "^")


def _symbol(symbol: str) -> str:
    """A symbol's pattern: exponents may be raised, micro and ohm have two code points each."""
    pattern = re.escape(symbol).replace("2", r"\^?[2²]").replace("3", r"\^?[3³]").replace("μ", "[μµ]").replace("°", r"°\s?")
    return pattern + _DOUBTFUL.get(symbol, "")


def _alternatives(symbols: dict[str, str]) -> str:
    return "|".join(map(_symbol, sorted(symbols, key=len, reverse=True)))


_QUANTITY = (
    rf"(?<![A-Za-z\d.])(?P<first>{NUMBER})(?:(?P<repeat>{_alternatives(_UNITS)})?{_DASH}(?P<minus>负|零下)?(?P<last>{NUMBER}))?"
    rf"\s?(?P<unit>{_alternatives(_UNITS)})(?:/(?P<per>{_alternatives(_PER)}))?(?![A-Za-z\d²³])(?P<next>/(?=\d))?"
)


def _plain(symbol: str) -> str:
    return symbol.replace(" ", "").translate(_EXPONENTS)


def _quantity(match: re.Match[str]) -> str:
    """A number or a range with its unit: 1.5-2L is 一点五到两升."""
    number = cardinal if "度" in _UNITS[_plain(match["unit"])] else counted
    words = number(match["first"])
    unit = _UNITS[_plain(match["unit"])]
    if match["repeat"]:
        words += _UNITS[_plain(match["repeat"])]
    if match["last"]:
        words += f"到{match['minus'] or ''}{number(match['last'])}"
    if match["per"]:
        unit += f"每{_PER[_plain(match['per'])]}"
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
    return _UNITS.get(_plain(symbol), symbol)


def _duration(match: re.Match[str]) -> str:
    parts = zip(match.groups(), ("小时", "分钟", "秒"), strict=True)
    return "".join(counted(str(int(number))) + unit for number, unit in parts if number)


PERCENTAGES: tuple[Rule, ...] = (
    rule(rf"((?<![A-Za-z\d)）%])[-−])?(?<![\d.])({NUMBER})([%‰])?{_DASH}([-−])?({NUMBER})([%‰])", _percent_range),
    rule(rf"(?<![A-Za-z\d)）%])\+(?={NUMBER}[%‰])", "正"),
    rule(rf"(?<![\dA-Za-z)）%])[-−](?={NUMBER}[%‰])", "负"),
    rule(rf"(?<![\d.])({NUMBER})\s?([%‰])", _percent),
)

RULES: tuple[Rule, ...] = (
    rule(r"(?<![A-Za-z\d.])(?:(\d{1,3})h)(\d{1,2})m(?:in)?(?:(\d{1,2})s)?(?![A-Za-z\d])", _duration),
    rule(r"(?<![A-Za-z\d.])()(\d{1,3})min(\d{1,2})s(?![A-Za-z\d])", _duration),
    rule(r"[\u3371-\u33df]", _squared),
    # A doubled unit says it once: 5km公里.
    rule(r"((?:高压|血压|压)[^\d，。；\n]{0,4})(\d{2,3})/(\d{2,3})", lambda m: f"{m[1]}{cardinal(m[2])}，{m[3]}"),
    rule(r"(?<![\d.])(\d{2,3})/(\d{2,3})(?=\s?mm[Hh]g)", lambda m: f"{cardinal(m[1])}，{m[2]}"),
    rule(_QUANTITY, _quantity),
    rule(r"(?<![A-Za-z])PM\s?(2\.5|10)(?![\d.]*\d)", lambda m: f"pm{cardinal(m[1])}"),
    rule(r"(?<![\d.])(\d{1,6})A(?=[，。,./、的]|$|电|保险|空开|插座|以)", lambda m: f"{cardinal(m[1])}安"),
    rule(rf"(?<=[\d℃])\s?{_DASH}(?=零下)", "到"),
    rule(rf"(?<=[次滴转步字元块角米克升人粒个度])/({_alternatives(_PER)})(?![A-Za-z\d])", lambda m: f"每{_PER[_plain(m[1])]}"),
)
