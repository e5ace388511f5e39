"""How a Chinese text is spoken: what the grammar would misread first, then the grammar, then the signs left over.

The hyphen has the most meanings: minus, phone number, date, range, score, subtraction, model name.
Knows nothing about English sentences; Latin words inside Chinese text stay as they are, in lower case.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from glmtts.text.characters import HANZI, PUNCTUATION

_NUMBER = r"\d+(?:\.\d+)?"
_DASH = r"[-–—~～]"
_DEGREE = r"(?:℃|°\s*C|℉|°\s*F|摄氏|华氏)"
_MOBILE = re.compile(r"(?<![\d.])(\+?86[- ]?)?(1[3-9]\d)[- ]?(\d{4})[- ]?(\d{4})(?![\d.])")
_LANDLINE = re.compile(
    r"(?<![\d.-])(?:\(?0\d{2,3}\)?[- ]?\d{7,8}(?:-\d{1,6})?|0\d{2,3}-\d{3,4}-\d{4}|[48]00-\d{3,4}-?\d{3,4})(?![\d.-])"
)
_CODE = re.compile(r"(?<![\d.-])\d+(?:-\d+){2,}(?![\d.-])")
_DATE = re.compile(r"(?<!\d)(\d{4})-(0?[1-9]|1[0-2])-(0?[1-9]|[12]\d|3[01])(?!\d)")
_MONTH = re.compile(r"(?<![\d-])((?:19|20)\d{2})-(0[1-9])(?![\d-])")
_MONEY = re.compile(
    rf"(HK|US|RMB|NT)?([￥¥$€£])\s*({_NUMBER})\s*([万亿千百]*)(?:元|块钱?|人民币|美元|港元|港币|欧元|英镑|日元)?"
)
_CURRENCY = {"￥": "元", "¥": "元", "$": "美元", "€": "欧元", "£": "英镑", "HK": "港元", "NT": "新台币"}
_SCORE = re.compile(rf"(比分[^\d，。,.]{{0,6}}|以)(\d{{1,3}})\s*{_DASH}\s*(\d{{1,3}})(?![\d.%])")
_SUBTRACTION = re.compile(rf"({_NUMBER})\s*-\s*({_NUMBER})(?=\s*=)")
_PER = "[秒天日周月年次人个件斤克吨米升平亩瓶盒箱晚位户页套台度]|小时|分钟|公[斤里]|千[克米]|毫升|立方"
# A hyphen between these and a number is a minus; after any other character it belongs to a name (歼-20).
_BEFORE_MINUS = "温是为到至约达于在低高降升跌涨和与或从等得率比乘除加减负率值即了有、"
_NOT_AFTER = rf"(?<![\dA-Za-z{HANZI})）\]】%℃])|(?<=[{_BEFORE_MINUS}])"
_NAMED = (
    r"(?:编号|代码|号码|学号|工号|邮编|邮政编码|门牌|型号|密码|验证码|代号|尾号|房间|房号|分机|区号|卡号|账号)"
    r"(?:号|是|为|[:：])*\s*\d{3,}(?![\d.])"
)
_PLACE = "室|房间|包厢|事件|高校|大学|医院|国道|省道|路公交|路车|次列车|次航班|航班|报警|热线|急救"
_WEEKDAY = "(?:周|星期|礼拜)[一二三四五六日天]"
_DIGITS = str.maketrans("0123456789", "零一二三四五六七八九")
_TELEPHONE_DIGITS = str.maketrans("0123456789", "零幺二三四五六七八九")
_VARIANTS = {"噢": "哦", "欸": "诶"}  # characters that the model has hardly seen, by those that sound the same

_SIGNS = {
    "†": "，", "²": "平方", "³": "立方", "+": "加", "=": "等于", "&": "和",
    ">": "大于", "<": "小于", "≥": "大于等于", "≤": "小于等于", "≈": "约等于", "±": "正负",
    "∈": "属于", "∉": "不属于", "∪": "并", "∩": "交", "⊥": "垂直", "∥": "平行",
    "≠": "不等于", "∵": "因为", "∴": "所以", "∅": "空集", "⊂": "真包含于", "⊃": "包含", "⊆": "包含于", "⊇": "真包含",
    "⊄": "不属于", "⊅": "非超集", "⊈": "不属于", "⊉": "非超集", "□": "方框", "△": "德尔塔",
    **dict(zip("①②③④⑤⑥⑦⑧⑨⑩", "一二三四五六七八九十", strict=True)),
    "α": "阿尔法", "β": "贝塔", "γ": "伽玛", "Γ": "伽玛", "δ": "德尔塔", "Δ": "德尔塔", "ε": "艾普西龙", "ζ": "捷塔",
    "η": "依塔", "θ": "西塔", "Θ": "西塔", "ι": "艾欧塔", "κ": "喀帕", "λ": "拉姆达", "Λ": "拉姆达", "μ": "缪",
    "ν": "拗", "ξ": "克西", "Ξ": "克西", "ο": "欧米克伦", "π": "派", "Π": "派", "ρ": "肉", "ς": "西格玛",
    "Σ": "西格玛", "σ": "西格玛", "τ": "套", "υ": "宇普西龙", "φ": "服艾", "Φ": "服艾", "χ": "器", "ψ": "普赛",
    "Ψ": "普赛", "ω": "欧米伽", "Ω": "欧米伽",
}  # fmt: skip


def speak(text: str, grammar: Callable[[str], str]) -> str:
    """One line of Chinese as it is spoken, in lower case. `grammar` writes plain numbers and measures out."""
    for origin, new in _VARIANTS.items():
        text = text.replace(origin, new)
    text = re.sub(f"咯(?=[{PUNCTUATION}])", "喽", text)
    text = _numbers(text)
    text = _hyphens(text)
    return _signs(_liang(text, grammar(text))).lower()


def _liang(written: str, spoken: str) -> str:
    """二百 and 二千 that the grammar made are said 两百 and 两千 wherever they stand; the author's own stay."""
    for pair in ("二百", "二千"):
        if pair not in written:
            spoken = spoken.replace(pair, "两" + pair[1])
    return spoken


def _numbers(text: str) -> str:
    """Powers, money, codes and other numbers without hyphens that the grammar reads wrongly."""
    text = re.sub(r"(?<![\d,])\d{1,3}(?:,\d{3})+(?!\d|,\d)", lambda m: m[0].replace(",", ""), text)
    text = re.sub(rf"({_NUMBER})\s*[*x×]\s*({_NUMBER})\^(-?)({_NUMBER})", _power, text)
    text = re.sub(rf"({_NUMBER})\^(-?)({_NUMBER})", lambda m: f"{m[1]}的{_minus(m[2])}{m[3]}次方", text)
    text = _MONEY.sub(_money, text)
    text = re.sub(rf"({_NUMBER})‰", r"千分之\1", text)
    # Versions: 1.2.3, but neither a date (2024.5.1) nor an address of four parts, which the grammar knows.
    text = re.sub(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){2}(?![\d.])", lambda m: _read(m[0].replace(".", "点")), text)
    # A name is no quantity and is read digit by digit: abc123, MH370, 密码是1234, 302室, 911事件.
    text = re.sub(rf"(?<=[A-Za-z])\d{{3,}}(?![\d.])|{_NAMED}", lambda m: m[0].translate(_TELEPHONE_DIGITS), text)
    return re.sub(rf"(?<![\d.第])\d{{3,5}}(?={_PLACE})", lambda m: m[0].translate(_TELEPHONE_DIGITS), text)


def _hyphens(text: str) -> str:
    """Every hyphen and range sign at a number by what it means there; hyphens that mean nothing go."""
    text = _MOBILE.sub(lambda m: ("加八六" if m[1] else "") + _dial(m[2] + m[3] + m[4]), text)
    text = _LANDLINE.sub(lambda m: _dial(m[0]), text)
    text = _DATE.sub(lambda m: f"{m[1]}年{int(m[2])}月{int(m[3])}日", text)
    text = _MONTH.sub(lambda m: f"{m[1]}年{int(m[2])}月", text)
    text = _CODE.sub(lambda m: _dial(m[0]), text)
    text = _SCORE.sub(r"\1\2比\3", text)
    text = _SUBTRACTION.sub(r"\1减\2", text)
    text = re.sub(rf"((?:19|20)\d{{2}})\s*{_DASH}\s*((?:19|20)\d{{2}})(?=年)", r"\1年到\2", text)
    text = _negatives(text)
    text = re.sub(rf"({_NUMBER})([%‰℃°]?C?)\s*{_DASH}+\s*(?=((?:负|零下)?)({_NUMBER}))", _range, text)
    text = re.sub(rf"(?<=[年月日号点分时])\s*{_DASH}+\s*(?=\d)", "到", text)
    text = re.sub(rf"(?<=[A-Za-z])[~～](?=[A-Za-z])|(?<=[周期拜][一二三四五六日天])[~～](?={_WEEKDAY})", "到", text)
    return text.replace("-", "")


def _negatives(text: str) -> str:
    """A minus sign is 零下 before a temperature, else 负; after 零下 it says nothing more."""
    text = re.sub(rf"(零下|负)\s*[-−](?={_NUMBER})", r"\1", text)
    text = text.replace("−", "-")
    below = rf"(?=\s*{_NUMBER}\s*(?:(?:{_DASH}|到|至)\s*-?{_NUMBER}\s*)?{_DEGREE})"
    text = re.sub(rf"(?<![\dA-Za-z)）%℃°])-{below}", "零下", text)
    if re.search(r"温|冷|冻", text):
        text = re.sub(rf"(?<![\dA-Za-z)）\]】])-(?={_NUMBER}度)", "零下", text)
    text = re.sub(rf"(?<=[\d℃C])(\s*(?:[~～]|到|至)\s*)-{below}", r"\1零下", text)
    text = re.sub(rf"(?<=[\d%])(\s*(?:[~～]|到|至)\s*)-(?={_NUMBER})", r"\1负", text)
    # After a hanzi that names things the hyphen is silent, unless a unit shows that this is a quantity.
    text = re.sub(rf"(?<![\dA-Za-z)）\]】%℃°])-(?={_NUMBER}\s*(?:%|元|万|亿|摄氏|华氏|°|℃))", "负", text)
    return re.sub(rf"(?:{_NOT_AFTER})-(?={_NUMBER})", "负", text)


def _range(match: re.Match[str]) -> str:
    """Between numbers a dash is 到 if it leads upward, or to a negative; downward a hyphen subtracts."""
    sign = match[0].strip()[-1]
    upward = float(match[1]) < float(match[4]) or match[3] or sign in "~～"
    return match[1] + match[2] + ("到" if upward else "减")


def _power(match: re.Match[str]) -> str:
    return f"{match[1]}乘{match[2]}的{_minus(match[3])}{match[4]}次方"


def _minus(sign: str) -> str:
    return "负" if sign else ""


def _money(match: re.Match[str]) -> str:
    unit = _CURRENCY.get(match[1] or "", _CURRENCY[match[2]])
    return f"{match[3]}{match[4]}{unit}"


def _dial(number: str) -> str:
    """Digit by digit, 1 as 幺, as numbers are dialled."""
    return re.sub(r"\D", "", number).translate(_TELEPHONE_DIGITS)


def _read(number: str) -> str:
    return number.translate(_DIGITS)


def _signs(text: str) -> str:
    """What the grammar left: brackets and quotes go, pauses become 逗号 or 句号, symbols their names."""
    text = text.replace("\\", "")
    text = re.sub(r"(?<!\w)额(?!\w)", "呃", text)
    number = "一二三四五六七八九十百千万亿a-zA-Z"
    text = re.sub(rf"(?<=[{number})])\s*\*\s*(?=\(?[{number}])", "乘", text).replace("*", "")
    text = _addresses(text)
    text = re.sub(r"\bkm/h\b", "公里每小时", re.sub(r"\bm/s\b", "米每秒", text))
    text = re.sub(rf"(?<=[元块角米里次个吨度克升人字页件万亿])/(?={_PER})", "每", text)
    text = re.sub(r"(?<=[A-Za-z])/(?=[A-Za-z])", " ", text)
    text = re.sub(r"[~～]+", "，", text)
    text = re.sub(r"[()（）【】「」`《》『』{}\[\]‘’]", "", text)
    text = text.replace(" - ", "，").replace("——", "，")
    text = re.sub(r"[,:：;；、/]+", "，", text)
    text = re.sub(r"[.…]+", "。", text)
    text = re.sub(r"[_·'\"“”|]+", "", text)
    for sign, name in _SIGNS.items():
        text = text.replace(sign, name)
    return text


def _addresses(text: str) -> str:
    """Dots, slashes and the at sign inside web addresses, mail addresses and file names by name."""
    text = re.sub(r"https?://", "", text)
    text = re.sub(r"\b((?:[A-Za-z]\.){2,})", lambda m: m[1].replace(".", ""), text)
    text = re.sub(r"(?<=[A-Za-z0-9])@(?=[A-Za-z0-9])", "艾特", text)
    return re.sub(r"(?<=[A-Za-z0-9])\.(?=[A-Za-z]{2})", "点", text)
