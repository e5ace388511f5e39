"""Numbers in Chinese words."""

from __future__ import annotations

import unicodedata

from glmtts.text.rules import Rule, rule

DIGITS = "零一二三四五六七八九"
_READ = str.maketrans("0123456789", DIGITS)
_DIALLED = str.maketrans("0123456789", "零幺二三四五六七八九")
_SCALES = ("", "万", "亿", "万亿")
_LONGEST = 16

NUMBER = r"\d{1,30}(?:\.\d{1,30})?"
"""A plain number; a rule that starts with it must not match right behind a digit."""

# Behind these 2 is 两. Units of measure take care of themselves.
_COUNTED = (
    "个|位|只|条|件|本|张|次|天|岁|名|家|座|所|间|台|辆|匹|头|棵|朵|支|枝|根|把|双|对|套|杯|碗|瓶|盒|袋|包|箱|桶|盘|份|片|块|"
    "颗|粒|句|段|篇|首|部|幅|顿|场|项|种|类|样|遍|趟|番|回|步|轮|队|批|群|排|列|道|门|扇|顶|架|艘|口|元|斤|公斤|克|千克|吨|"
    "米|厘米|毫米|千米|公里|里|升|毫升|小时|分钟|秒|周|年|个月|百|千|万|亿|倍|成|人|点钟|起|处|股|束|滴|圈|笔|卷|册|节|课|代|"
    "国|省|市|县|校|者|端|边|侧|方|大|小|三|半|亩|平方米|平米|立方米|美元|欧元|英镑|日元|块钱|毛|角|分钱|节课|旁|岸|极|院|会"
)
_NOT_BEFORE = r"(?<![\d.第/:\-A-Za-z初周])"

RULES: tuple[Rule, ...] = (
    # 第2次 and 周2 are ordinals and 2月2日 dates; all else that is counted takes 两.
    rule(rf"{_NOT_BEFORE}2(?=\s*(?:余|多|来)?(?:{_COUNTED}))(?!\s*(?:年级|年\d|分之|百分之|周岁生|班|会议室))", "两"),
    rule(rf"(?<![\d.第:A-Za-z])2(?=\s*[到至]\s*\d{{1,3}}(?:{_COUNTED}))", "两"),
    rule(NUMBER, lambda m: cardinal(m[0])),
)


def cardinal(number: str) -> str:
    """A number as written, with or without thousands separators and a fraction: "1,002.50" is 一千零二点五零.

    More than 16 digits before the point, and a whole number with a leading zero, are read digit by digit.
    """
    whole, _, fraction = number.replace(",", "").partition(".")
    words = read(whole) if len(whole) > _LONGEST or (len(whole) > 1 and whole[0] == "0") else _whole(int(whole or 0))
    return words + (f"点{read(fraction)}" if fraction else "")


def counted(number: str) -> str:
    """A number before a unit: as `cardinal`, but 2 alone is 两."""
    return "两" if number == "2" else cardinal(number)


def read(digits: str) -> str:
    """Digit by digit, as in years: "2024" is 二零二四. All but digits stays."""
    return digits.translate(_READ)


def dial(text: str) -> str:
    """The digits of a text one by one, 1 as 幺, as telephone and account numbers are read. All else falls away."""
    return "".join(char for char in text if char.isdecimal()).translate(_DIALLED)


def _whole(value: int) -> str:
    if value == 0:
        return "零"
    groups: list[str] = []
    rest = value
    for scale in _SCALES:
        rest, group = divmod(rest, 10_000)
        if group:
            zero = "零" if rest and group < 1000 else ""
            groups.append(zero + _thousands(group, first=not rest) + scale)
        elif groups and not groups[-1].startswith("零"):
            groups.append("零")
    words = "".join(reversed(groups)).strip("零")
    return f"两{words[1:]}" if words.startswith("二") and words[1:2] in ("万", "亿") else words


def _thousands(value: int, *, first: bool) -> str:
    """1 to 9999. As a number's first group 10 to 19 go without their 一: 十二."""
    words = ""
    for unit, name in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit, value = divmod(value, unit)
        if digit:
            two = digit == 2 and unit >= 100
            words += ("两" if two else DIGITS[digit]) + name
        elif words and value and not words.endswith("零"):
            words += "零"
    return words.removeprefix("一") if first and words.startswith("一十") else words


def circled(char: str) -> str:
    """The number in a circle, in brackets or with a full stop: ① is 一."""
    return cardinal(str(int(unicodedata.numeric(char))))
