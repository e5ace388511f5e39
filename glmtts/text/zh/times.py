"""Clock times, durations and angles in Chinese."""

from __future__ import annotations

import re

from glmtts.text.rules import Rule, rule
from glmtts.text.zh.numbers import NUMBER, cardinal, counted, read

_DASH = r"[-–—~～]{1,2}"
_CLOCK = (
    r"(?<![\d:.])([01]?\d|2[0-4]):([0-5]\d)(?::([0-5]\d)(?:\.\d{1,6})?)?(?:Z|[+-]\d{2}:?\d{2})?(?![\d:]|\.\d)"
    r"(?:分(?!钟))?"
)
_HALF_DAY = r"\s*([AaPp])\.?\s?[Mm](?![A-Za-z])\.?"
_PERIODS = "早上|上午|中午|下午|晚上|凌晨|傍晚|清晨|早晨|夜里|深夜|午夜|今晚|明早|明晚|昨晚|早|晚"
# The time of these is a time of day.
_HAPPENS = (
    "开馆|闭馆|开门|关门|发车|到达|到站|到港|抵达|起飞|降落|出发|开始|结束|营业|会议|开会|上课|下课|上班|下班|集合|截止|登机|检票|"
    "用餐|就餐|早餐|午餐|晚餐|退房|入住|签到|生效|现在|当前|北京|当地|面试|考试|直播|开播|首播|播出|开奖|开幕|开场|入场|预约|门诊|出诊"
)
# A colon behind these words separates hours, minutes and seconds that something takes.
_TAKES = (
    "用时|耗时|历时|费时|计时|时长|片长|全长|长达|持续|用了|花了|跑了|耗了|游了|骑了|全程|成绩|纪录|记录|跑出|跑完|游出|跑进|"
    "完赛|完成|倒计时|还剩|剩余|剩下|剩|总时间|通话|录音|音频|视频|歌曲|配速|圈速|最快|超过|不到|暂停在"
)
_DURATION = (
    rf"((?:{_TAKES}|(?<!{_HAPPENS})时间为)[^\d，。；！？,;\n]{{0,6}})"
    r"(\d{1,3}):([0-5]\d)(?::([0-5]\d))?(?:\.(\d{1,3}))?(?![\d:]|整)"
)
_RESULT = (
    r"()(?<![\d:.])(\d{1,3}):([0-5]\d)(?::([0-5]\d))?(?:\.(\d{1,3}))?"
    r"(?=的?(?:成绩|时间完|用时|佳绩|时长|视频|录音|音频|纪录)|(?:完赛|夺冠|跑完|冲线|撞线|完成比赛|达标))"
)
_RATIO = (
    r"((?:比例|比率|比值|之比|配比|汇率|画幅|宽高比|屏幕比|稀释)(?:[^\d，。；！？,;\n]{0,4}))"
    r"(\d{1,5}(?:\.\d{1,5})?)((?:[:：]\d{1,5}(?:\.\d{1,5})?){1,4})(?![\d:])"
)
_SCREEN = "屏|电视|显示|寸|的?披萨|的?蛋糕|轮|的?管|的?画|笔记本|平板"


def _clock(match: re.Match[str]) -> str:
    hour, minute, second = match[1], match[2], match[3]
    words = f"{counted(str(int(hour)))}点"
    if minute != "00" or (second or "00") != "00":
        words += _minutes(minute)
    if second and second != "00":
        words += f"{_two_digits(second)}秒"
    return words


def _minutes(minute: str) -> str:
    return "零分" if minute == "00" else f"{_two_digits(minute)}分"


def _two_digits(number: str) -> str:
    """05 is 零五."""
    return ("零" if number[0] == "0" else "") + cardinal(str(int(number)))


def _half_day(match: re.Match[str]) -> str:
    """7:30pm and 3 pm: the part of the day comes first in Chinese, unless it is there already."""
    period, hour, rest, half = match[1] or "", int(match[2]), match[3] or "", match[4].lower()
    if not period:
        period = _period(hour, half)
    return f"{period}{hour}{rest or '点'}"


def _half_day_range(match: re.Match[str]) -> str:
    """4:00-6:00pm: the half of the day counts for both."""
    first = match[1] if ":" in match[1] else f"{match[1]}点"
    return f"{_period(int(match[1].split(':')[0]), match[3].lower())}{first}到"


def _period(hour: int, half: str) -> str:
    if half == "a":
        return "凌晨" if hour < 5 or hour == 12 else "上午"
    if hour == 12:
        return "中午"
    return "下午" if hour < 6 else "晚上"


def _duration(match: re.Match[str]) -> str:
    before, first, second, third, fraction = match.groups()
    units = ("小时", "分", "秒") if third else ("分", "秒")
    numbers = [number for number in (first, second, third) if number]
    spoken = [
        (counted(str(int(number))) if unit == "小时" else cardinal(str(int(number))), unit)
        for number, unit in zip(numbers, units, strict=True)
    ]
    words = "".join(number + unit for number, unit in spoken if number != "零")
    if words.endswith("分") and "时" not in words:
        words += "钟"
    if fraction:
        seconds = cardinal(f"{int(numbers[-1])}.{fraction}")
        words = words.removesuffix("".join(spoken[-1])) + f"{seconds}秒"
    return before + (words or "零秒")


def _ratio(match: re.Match[str]) -> str:
    return match[1] + "比".join(cardinal(part) for part in re.split("[:：]", match[2] + match[3]))


def _minutes_seconds(match: re.Match[str]) -> str:
    return f"{cardinal(match[1])}分{cardinal(match[2])}秒"


RULES: tuple[Rule, ...] = (
    rule(r"(?<=\d)\s[:：]\s(?=\d)", ":"),
    # AM 9:00 is written for 9:00 AM.
    rule(r"(?<![A-Za-z])([AP]M)\s?(\d{1,2}:\d{2})(?![\d:])", r"\2\1"),
    rule(_DURATION, _duration),
    rule(_RESULT, _duration),
    rule(_RATIO, _ratio),
    rule(rf"(?<![\d:.])([01]?\d(?::[0-5]\d)?)\s*{_DASH}\s*(?=([01]?\d)(?::[0-5]\d)?{_HALF_DAY})", _half_day_range),
    rule(rf"({_PERIODS})?(?<![\d:.])\s*([01]?\d)(:[0-5]\d(?::[0-5]\d)?)?{_HALF_DAY}", _half_day),
    rule(rf"({_CLOCK})\s*{_DASH}\s*(?=[01]?\d:|2[0-4]:)", lambda m: f"{m[1]}到"),
    rule(_CLOCK, _clock),
    rule(
        r"(?<![\d:.])\d{1,6}(?:\.\d{1,6})?(?:[:：]\d{1,6}(?:\.\d{1,6})?){1,4}(?![\d:])",
        lambda m: "比".join(map(cardinal, re.split("[:：]", m[0]))),
    ),
    # Feet and inches stand behind a height; else these signs are minutes and seconds, of time or arc.
    rule(
        r"(?<!时)(?<![视音]频)(?<!录[音像])(?<!影片)(?<!歌曲)((?:身?高|长|宽)\D{0,4})(\d)['′’](\d{1,2})(?:[\"″”]|'')|(?<![\d.])(\d)['′’](\d)(?:[\"″”]|'')",
        lambda m: f"{m[1] or ''}{cardinal(m[2] or m[4])}英尺{cardinal(m[3] or m[5])}英寸",
    ),
    rule(
        rf"(?<![\d.])({NUMBER})°\s*(\d{{1,2}})['′’](?:\s*(\d{{1,2}}(?:\.\d{{1,4}})?)(?:[\"″”]|''))?",
        lambda m: f"{cardinal(m[1])}度{cardinal(m[2])}分" + (f"{cardinal(m[3])}秒" if m[3] else ""),
    ),
    rule(r"(?<![\d.])(\d{1,3})['′’](\d{1,2}(?:\.\d{1,3})?)(?:[\"″”]|'')", _minutes_seconds),
    rule(rf"(?<![\d.])({NUMBER})\s*(?:[\"″”]|'')(?=\s*(?:{_SCREEN}))", lambda m: f"{counted(m[1])}英寸"),
    rule(r"(?<![A-Za-z\d.'\"])(\d{1,2})[\"″](\d{2})(?!\d)", lambda m: f"{counted(m[1])}秒{read(m[2])}"),
    rule(rf"(?<![\d.])({NUMBER})\s*″", lambda m: f"{counted(m[1])}秒"),
    rule(rf"(?<![\d.])({NUMBER})\s*′", lambda m: f"{counted(m[1])}分"),
    rule(
        r"(?<![\w'‘])(\d{1,3})['’](?=[，。！？；\s]|\.?\s*$|\s?(?:进球|破门|绝杀|换人|红牌|黄牌))|(?<=[了第])(\d{1,3})['’](?=[，。！？；\s+]|$|进球|破门|绝杀)",
        lambda m: f"{counted(m[1] or m[2])}分钟",
    ),
    # 2点 is an hour, but 2.5点 and 第2点 are points.
    rule(rf"(?<![\d.第])([12]?\d)\s*{_DASH}\s*2(?=点)", lambda m: f"{cardinal(m[1])}到两"),
    rule(rf"(?<![\d.第])([12]?\d)\s*{_DASH}\s*(?=[12]?\d点)", lambda m: f"{counted(m[1])}到"),
    rule(r"(?<![\d.第:有这])2(?=\s*点(?!\d*[建要意理原])(?:钟|半|整|多|左右|\D|$))", "两"),
    rule(
        r"(?<![\d.])(\d{1,2})点(\d{2})(?=分|$|[，。！？；\s])",
        lambda m: f"{counted(str(int(m[1])))}点{_two_digits(m[2]) if m[2] != '00' else '整'}",
    ),
)
