"""Hyphens and range signs in Chinese: minus, range, score, subtraction, or nothing."""

from __future__ import annotations

import re

from glmtts.text.characters import HANZI
from glmtts.text.rules import Rule, rule
from glmtts.text.zh.numbers import NUMBER, cardinal

DASH = r"[-–—~～]"
_DEGREE = r"(?:℃|°\s*C|℉|°\s*F|摄氏|华氏)"
_WEEKDAY = "(?:周|星期|礼拜)[一二三四五六日天]"
# A hyphen between these and a number is a minus; after any other character it belongs to a name (歼-20).
_BEFORE_MINUS = "温是为到至约达于在低高降升跌涨和与或从等得率比乘除加减负率值即了有、"
_NOT_AFTER = rf"(?<![\dA-Za-z{HANZI})）\]】%℃])|(?<=[{_BEFORE_MINUS}])"
_BELOW_ZERO = rf"(?=\s*{NUMBER}\s*(?:(?:{DASH}|到|至)\s*-?{NUMBER}\s*)?{_DEGREE})"
_COLD_REACH = 40
_CALCULATION_REACH = 15

_POINTS = r"\d{1,3}\s*[-–—:：]\s*\d{1,3}"
_SCORE = re.compile(
    rf"((?:比分|局分|总分|大比分|赛果|比赛结果)[^\d，。,.；！？\n]{{0,8}})"
    rf"({_POINTS}(?:\s*[，、,/ (（]\s*{_POINTS}){{0,8}})(?![\d:%]|\.\d)"
)
_MEASURES = "个名人天年月次分位岁万千元米小公里杯周场把支条台件块斤吨页章折层楼号点秒级日倍至到℃°"
_OUTCOME = (
    "战胜|击败|获胜|取胜|险胜|大胜|完胜|小胜|力克|淘汰|逆转|横扫|零封|绝杀|赢|胜|领先|落后|战平|打平|逼平|握手言和|告负|落败|不敌|负于|惜败|"
    "惜负|输(?![入出送液])|负(?![责担数面])|拿下|告捷|暂时领先|结束|收场|的(?:比分|成绩|优势|总分)|连下|惨败|告终|平(?![米方均常时])"
)


def _score(match: re.Match[str]) -> str:
    """All scores of a list of sets, as in 比分21-19，18-21."""
    spoken = re.sub(r"(\d+)\s*[-–—:：]\s*(\d+)", lambda m: f"{cardinal(m[1])}比{cardinal(m[2])}", match[2])
    return match[1] + spoken


def _sets(match: re.Match[str]) -> str:
    """A list of pairs, of which one leads downward, has no ranges: these are scores."""
    pairs = [pair.split("-") for pair in re.findall(r"\d+-\d+", match[0])]
    if all(int(first) < int(last) for first, last in pairs):
        return match[0]
    return "，".join(f"{cardinal(first)}比{cardinal(last)}" for first, last in pairs)


def _versus(match: re.Match[str]) -> str:
    return f"{cardinal(match[1])}比{cardinal(match[2])}"


def _if_cold(match: re.Match[str]) -> str:
    nearby = match.string[max(match.start() - _COLD_REACH, 0) : match.end() + _COLD_REACH]
    return "零下" if re.search(r"温|冷|冻", nearby) else match[0]


def _range(match: re.Match[str]) -> str:
    """Between numbers a dash is 到 if it leads upward, or to a negative; downward it is a score or subtracts."""
    sign = match[0].strip()[-1]
    upward = float(match[1]) < float(match[4]) or match[3] or sign in "~～"
    if upward:
        return f"{match[1]}{match[2]}到"
    if re.match(r"\d{1,2}[点时月日年度℃周]", match.string[match.end() :][:4]):
        return f"{match[1]}{match[2]}到"
    nearby = match.string[max(match.start() - _CALCULATION_REACH, 0) : match.end() + _CALCULATION_REACH]
    calculates = "." in match[1] + match[4] or re.search(r"[算减加乘除差求式=+×]|等于", nearby)
    if re.match(r"\d+[号室]", match.string[match.end() :][:8]):
        return f"{match[1]}{match[2]}杠"
    return f"{match[1]}{match[2]}{'减' if calculates else '比'}"


SCORES: tuple[Rule, ...] = (
    Rule(_SCORE, _score),
    rule(
        r"(?<![\d.:%-])\d{1,3}-\d{1,3}(?:[，、,]\s?\d{1,3}-\d{1,3}){1,8}(?![\d:%-]|\.\d|[个名人天年月次位岁万千元米页章])",
        _sets,
    ),
    rule(
        rf"(?<![\d.:-])(\d{{1,3}})\s*[-–—:：]\s*(\d{{1,3}})(?=\s*(?:{_OUTCOME}))",
        _versus,
    ),
    rule(
        rf"(?<=[队方赢胜负平以])\s?(\d{{1,3}})\s?[-–—]\s?(\d{{1,3}})(?!\d|\.\d|%|\s?[a-zA-Z{_MEASURES}])",
        _versus,
    ),
    # After one score with 比, the others of its list are scores too.
    rule(
        r"(?<=比[零一二三四五六七八九十])[，、,]\s*(\d{1,3})\s*[-–—:：]\s*(\d{1,3})(?![\d:%-]|\.\d)",
        lambda m: f"，{_versus(m)}",
    ),
)

NEGATIVES: tuple[Rule, ...] = (
    rule(rf"(?<=[\d零一二三四五六七八九十两][万亿千百元岁级])\s?{DASH}\s?(?=\d)", "到"),
    rule(rf"({NUMBER})\s*-\s*({NUMBER})(?=\s*=)", r"\1减\2"),
    rule(rf"(零下|负)\s*[-−](?={NUMBER})", r"\1"),
    rule("−", "-"),
    rule(r"(?:(?<=[²³][)）])|(?<=[²³]))-(?=[\dA-Za-z(（])", "减"),
    # A minus sign is 零下 before a temperature, else 负.
    rule(rf"(?<![\dA-Za-z)）%℃°])-{_BELOW_ZERO}", "零下"),
    rule(rf"(?<![\dA-Za-z)）\]】])-(?={NUMBER}度)", _if_cold),
    rule(rf"(?<=[\d℃C])(\s{{0,9}}(?:[~～–—]|到|至)\s{{0,9}})-{_BELOW_ZERO}", r"\1零下"),
    rule(rf"(?<=[\d%])(\s{{0,9}}(?:[~～–—]|到|至)\s{{0,9}})-(?={NUMBER})", r"\1负"),
    # After a hanzi that names things the hyphen is silent, unless a unit shows that this is a quantity.
    rule(rf"(?<![\dA-Za-z)）\]】%℃°])-(?={NUMBER}\s*(?:%|元|万|亿|摄氏|华氏|°|℃))", "负"),
    rule(rf"(?:{_NOT_AFTER})-(?={NUMBER})", "负"),
)

RANGES: tuple[Rule, ...] = (
    rule(r"(?<=[图表式例题])\s?(\d{1,3})-(?=\d{1,3}(?![\d.]*\d))", r"\1杠"),
    rule(r"(?<=[A-Za-z])(\d{1,2}(?:\.\d{1,4})?)-(?=\d{1,4}(?:\.\d)?[A-Za-z])", r"\1杠"),
    rule(r"(?<![\w%℃°)）])[~～](?=\d)", "约"),
    rule(rf"(?<=分之[一二三四五六七八九十])\s?{DASH}\s?(?=[一二三四五六七八九十百]{{1,4}}分之)", "到"),
    rule(rf"(?<=[点分])\s?{DASH}\s?(?=次日|翌日|第二天|明)", "到"),
    rule(rf"(?<!\d)({NUMBER})([%‰℃°]?[CF]?)\s{{0,9}}{DASH}{{1,3}}\s{{0,9}}(?=((?:负|零下)?)({NUMBER}))", _range),
    rule(
        rf"(?<=[年月日号点分时秒元万亿千代])\s{{0,9}}{DASH}{{1,3}}\s{{0,9}}(?=[\d零一二三四五六七八九十两上下早晚中凌])",
        "到",
    ),
    rule(rf"(?<=[A-Za-z])[~～](?=[A-Za-z])|(?<=[周期拜][一二三四五六日天])[-~～—](?={_WEEKDAY})", "到"),
    rule("-", ""),
)
