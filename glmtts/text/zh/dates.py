"""Dates in Chinese, in all their spellings."""

from __future__ import annotations

import re

from glmtts.text.rules import Rule, rule
from glmtts.text.zh.numbers import cardinal, read

_MONTH = r"(?:0?[1-9]|1[0-2])"
_DAY = r"(?:0?[1-9]|[12]\d|3[01])"
_DASH = r"[-–—~～]{1,2}"
_YEAR = r"(?:1[0-9]|20|21)\d{2}"

# A day of remembrance or trade is named by its bare digits: 3.15 is 三一五.
_OCCASIONS = (
    "[\u4e00-\u9fff]{1,3}节(?![目省约奏])|[\u4e00-\u9fff]{2,4}日(?![元本期常均])|劳动节|国庆|元旦|建军|建党|儿童节|六一|妇女节|青年节|教师节|情人节|圣诞|光棍节|"
    "植树节|护士节|记者节|节|晚会|大促|促销|购物|狂欢|"
    "消费者|打假|维权|电商|活动|事变|事件|惨案|起义|地震|大地震|空难|恐怖|袭击|运动|革命|讲话|批示|公祭|纪念|海啸|爆炸|事故|案|长假|黄金周|假期|小长假|放假|阅兵|特大"
)
_NAMED_DAYS = {"10.1": "十一", "11.11": "双十一", "12.12": "双十二"}

# Behind a two-digit year: what shows that it is a year, and what shows a span of time.
_YEAR_CONTEXT = (
    "出生|生人|生的|毕业|入学|入伍|入党|参军|结婚|离婚|去世|退休|参加|当兵|下岗|上大学|高考|考上|回归|世界杯|奥运|欧洲杯|亚运|"
    "春晚|出厂|建成|成立|开始|的(?:时候|世界杯|奥运|欧洲杯|亚运|夏|冬|春|秋|高考|金融危机|洪水)|那年|那会|春|夏|秋|冬|初|底|末|"
    "上半年|下半年|\\d{1,2}月|[到至]\\d{2}年|洪水|金融危机|地震|冠军|版|款"
)
_SPAN_BEFORE = "了过近约有第共达整满判足每几或多长用花活隔等经历于超"
_LABELS = (
    "届|级|款|版|赛季|财年|年度|学年|高考|春晚|奥运|世界杯|欧洲杯|亚运|新款|新版|秋冬|春夏|春节|新年|跨年|毕业|应届|"
    "Q[1-4]|[HTMS](?![A-Za-z])"
)
# The year is a part of the names of these: 2024全国大学生篮球赛.
_EVENTS = (
    "大赛|联赛|锦标赛|公开赛|邀请赛|挑战赛|球赛|决赛|运动会|马拉松|峰会|论坛|大会|年会|博览会|展览会|车展|书展|电影节|音乐节|艺术节|文化节|美食节|"
    "音乐会|演唱会|晚会|典礼|盛典|颁奖|冬奥会|残奥会|奥运|亚运|世界杯|欧洲杯|亚洲杯|发布会|排行榜|榜单|\\d{2,4}强|白皮书|蓝皮书|(?:年度|发展|调查)报告"
)
_EVENT_NAME = (
    r"(?![人个名位元家所只场次多余万亿张块米公斤克条件份吨])"
    rf"(?:(?!参加|出席|举[行办]|[有在了的看听去等办做开])[^\W\dA-Za-z]){{0,12}}?(?:{_EVENTS})"
)


def _full(match: re.Match[str]) -> str:
    return f"{read(match['year'])}年{cardinal(str(int(match['month'])))}月{cardinal(str(int(match['day'])))}日"


def _year_month(match: re.Match[str]) -> str:
    return f"{read(match[1])}年{cardinal(str(int(match[2])))}月"


def _year_last(match: re.Match[str]) -> str:
    """05/06/2024 begins with the month, 25/12/2024 and 25.12.2024 with the day."""
    month, day = int(match[1]), int(match[3])
    if month > 12 or (match[2] == "." and day <= 12):
        month, day = day, month
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return match[0]
    return f"{read(match[4])}年{cardinal(str(month))}月{cardinal(str(day))}日"


def _short_year(match: re.Match[str]) -> str:
    return f"{read(match[1])}年{cardinal(str(int(match[2])))}月{cardinal(str(int(match[3])))}日"


def _months(match: re.Match[str]) -> str:
    first, last = (f"{read(match[i])}年{cardinal(str(int(match[i + 1])))}月" for i in (1, 3))
    return f"{first}到{last}"


def _occasion(match: re.Match[str]) -> str:
    return _NAMED_DAYS.get(f"{match[1]}.{match[2]}") or read(match[1] + match[2])


def _month_day(match: re.Match[str]) -> str:
    return f"{cardinal(str(int(match[1])))}月{cardinal(str(int(match[2])))}日"


def _either(match: re.Match[str]) -> str:
    return f"{cardinal(match[1])}，{cardinal(match[2])}"


RULES: tuple[Rule, ...] = (
    rule(
        rf"(?<![\d.])(?P<year>{_YEAR})(?P<mark>[-/.])(?P<month>{_MONTH})(?P=mark)(?P<day>{_DAY})(?:日|号)?(?:T(?=\d)|"
        r"(?!\d|(?P=mark)\d))",
        _full,
    ),
    rule(r"(?<![\d./-])(\d{1,2})([/.-])(\d{1,2})\2((?:19|20)\d{2})(?!\d|[/.-]\d)", _year_last),
    rule(r"(?<![\d./-])(\d\d)/(0[1-9]|1[0-2])/(0[1-9]|[12]\d|3[01])(?![\d/]|\.\d)", _short_year),
    rule(rf"(?<![\d.])({_YEAR})-({_MONTH})(?:月份?)?(?![\d-]|\.\d)(?!月)", _year_month),
    rule(
        rf"(?<![\d./])({_YEAR})[/.](0[1-9]|1[0-2])(?:月份?)?(?![\d/%]|\.\d)(?=\s*(?:[，。,！？；、年出发]|\.?\s*$|[-–—~～至到]))",
        _year_month,
    ),
    rule(r"(?<![\d.·])(1[0-2]|[1-9])·([1-3]?\d)(?![\d·])", _occasion),
    rule(
        rf"(?<![\d.第])({_MONTH})\.({_DAY})\s?(?:{_DASH}|到|至)\s?({_MONTH})\.({_DAY})(?=\s*(?:{_OCCASIONS}|期间|出差|有效|休))",
        lambda m: "到".join(
            f"{cardinal(str(int(month)))}月{cardinal(str(int(day)))}日" for month, day in ((m[1], m[2]), (m[3], m[4]))
        ),
    ),
    rule(r"(?<=《)((?:19|20)\d\d)(?![\d年])", lambda m: read(m[1])),
    rule(rf"(?<![\d.第])(1[0-2]|[1-9])\.([1-3]?\d)(?=\s*[“”\"]?(?:{_OCCASIONS}))", _occasion),
    rule(rf"(?<!\d)(?:315|618|818|520|918|512|1111|1212)(?=\s*(?:{_OCCASIONS}))", lambda m: read(m[0])),
    rule(rf"(?<![\d.])({_YEAR})\.({_MONTH})\s?{_DASH}\s?({_YEAR})\.({_MONTH})(?!\d|\.\d)", _months),
    rule(
        r"(?<![\d.])(\d{2})年(?=\d{1,2}月|Q[1-4]|[HS][12](?!\d)|第?[一二三四1-4]季度|[上下]半年)",
        lambda m: f"{read(m[1])}年",
    ),
    # A month before a day, where nothing divides: 10/1 is no improper fraction.
    rule(r"(?<![\d/.])(1[0-2]|[1-9])/([12]?\d|3[01])(?=\s?[月号](?!线|楼|机|门))", _either),
    rule(
        r"(?<![\d/.+*×÷=-])(1[0-2]|[1-9])/([1-9]|1[0-2])(?=\s*(?:[，。；！？、（(]|\.?\s*$))",
        lambda m: _month_day(m) if int(m[1]) > int(m[2]) else m[0],
    ),
    rule(r"(?<![\d.])(\d{2})[-/](\d{2})(?=赛季|学年|财年)", lambda m: f"{read(m[1])}到{read(m[2])}"),
    rule(rf"(?<![\d.-])(0[1-9])-({_DAY})(?!\d|-|\.\d)", _month_day),
    # 12/25 is a date where something takes place on it; else it is a fraction.
    rule(
        rf"(?<![\d/-])({_MONTH})[/-]({_DAY})(?=\s*(?:放假|出发|开始|开学|上映|发布|截止|到期|见面|晚上|上午|下午|早上|中午|开会|举行|生日|日程|上线|开售|开幕|结束|"
        r"[周(（]))",
        _month_day,
    ),
    rule(
        rf"(?<![\d/-])({_MONTH})/({_DAY})(?=[^\W\d_的在和是有个人地]{{2,3}}(?:节(?![课目子])|日(?![期本语元])))",
        _month_day,
    ),
    # A day that is something's: 3/8是妇女节.
    rule(
        rf"(?<![\d/.的])({_MONTH})/({_DAY})(?=\s?是(?:[\u4e00-\u9fff]{{1,8}}(?:节|纪念日|生日|忌日|截止日|最后一天)|周[一-日]|星期|除夕|国庆|元旦|中秋|圣诞))",
        _month_day,
    ),
    rule(
        rf"(?:(?<=[于在日天期])|(?<=[周期][一二三四五六日天][(（]))({_MONTH})/({_DAY})(?![\d/]|\s*[的杯个米公])",
        _month_day,
    ),
    rule(r"(?<!\d)0?(\d{1,2})月0?(\d{1,2})(?=[日号])", lambda m: f"{cardinal(m[1])}月{cardinal(m[2])}"),
    rule(r"(?<!\d)0([1-9])(?=月份?(?!\d))", lambda m: cardinal(m[1])),
    rule(r"(?<!\d)(\d{4})\s*[-–—~～至到]{1,2}\s*(\d{4})(?=年(?![级]))", lambda m: f"{read(m[1])}年到{read(m[2])}"),
    rule(rf"(?<!\d)({_YEAR})\s*{_DASH}\s*(\d{{2}})(?=年)", lambda m: f"{read(m[1])}到{read(m[2])}"),
    rule(rf"(?<!\d)({_YEAR})\s*{_DASH}\s*({_YEAR})(?=学年|赛季|财年|年度)", lambda m: f"{read(m[1])}到{read(m[2])}"),
    rule(
        rf"(?<![\d.-])((?:18|19|20)\d{{2}})\s?{_DASH}\s?((?:19|20)\d{{2}})(?!\d|\.\d|-|[%个元人米件克块条张次万亿年])",
        lambda m: f"{read(m[1])}到{read(m[2])}",
    ),
    # Round thousands may count years: 2000年的历史.
    rule(
        r"(?<![\d.])([12])000年(?=[的]?(?:历史|文明|以?来|之久|时间|前|以前|之前))",
        lambda m: f"{'一两'[int(m[1]) - 1]}千年",
    ),
    rule(r"(?<![\d.])([1-9]\d?00)(?=年[的]?(?:历史|文明|来(?!自)|之久|以来))", lambda m: cardinal(m[1])),
    rule(rf"(?<![\d.,])({_YEAR})(?=\s*年(?!级))", lambda m: read(m[1])),
    rule(rf"(?<![\d.,{_SPAN_BEFORE}])((?:19|20)\d\d)(?={_EVENT_NAME})", lambda m: read(m[1])),
    rule(rf"(?<![\d.,])((?:19|20)\d{{2}})(?=\s*(?:{_LABELS}))(?!级(?:台阶|楼梯))", lambda m: read(m[1])),
    rule(
        r"(?<![A-Za-z\d])['’‘](\d{2})(?=[年届级后款]|\b|世界杯|奥运|亚运|欧洲杯|春晚|高考)",
        lambda m: read(m[1]),
    ),
    rule(r"(?<=©)\s?((?:19|20)\d\d)(?!\.?\d)", lambda m: read(m[1])),
    rule(r"(?<=公元)(前?)(\d{3,4})(?=年)", lambda m: m[1] + read(m[2])),
    rule(r"(?<![\d.,])((?:1[5-9]|20)\d0)'?s(?![A-Za-z])", lambda m: f"{read(m[1])}年代"),
    rule(
        r"(?<![\d.,A-Za-z])([4-9]0)'?s(?=\s?的?(?:音乐|风格|复古|年代|歌|电影|港|老歌|风|辣妹|时尚|经典))",
        lambda m: f"{cardinal(m[1])}年代",
    ),
    rule(
        r"(?<=[A-Za-z] )((?:19|20)\d{2})(?![\d:/%-]|[.,]\d|\s?[A-Za-z元块个人米次名条多余来万亿件张台字克公平小天]|年)",
        lambda m: read(m[1]),
    ),
    rule(r"(?<![\d.])(0\d)(?=年(?!级)|届|级)", lambda m: read(m[1])),
    rule(rf"(?<![\d.{_SPAN_BEFORE}])([4-9]\d)(?=年(?:{_YEAR_CONTEXT}))", lambda m: read(m[1])),
    rule(
        r"(?:(?<=[从自在于生])|(?<=年[到至]))([5-9]\d)(?=年(?![代来前后以之历间内多了的里中时这那如]))",
        lambda m: read(m[1]),
    ),
    rule(r"(?<![\d.])([05-9][05]|10)后(?!来|的?第|面)", lambda m: f"{read(m[1])}后"),
    rule(r"(?<![\d.])(00)(?=年代)", lambda m: read(m[1])),
)
