"""Numbers that name things, in Chinese: telephones, accounts, rooms, versions. They are read digit by digit."""

from __future__ import annotations

import re

from glmtts.text.rules import Rule, rule
from glmtts.text.zh.numbers import cardinal, dial, read

_MOBILE = r"(?<![\d.])(\+?86[- ]?)?(1[3-9]\d)[- ]?(\d{4})[- ]?(\d{4})(?![\d.]*\d)"
_LANDLINE = (
    r"(?<![\d.-])(?:[(（]?0\d{2,3}[)）]?[- ]?\d{7,8}(?:-\d{1,6})?|[(（]?0\d{2,3}(?:[)）][- ]?|[- ])\d{3,4}[- ]\d{4}|"
    r"[48]00[- ]?\d{3,4}[- ]?\d{3,4})(?![\d-]|\.\d)"
)
_FOREIGN = r"(?<![\dA-Za-z+])\+(\d{1,3})((?:[- ]\(?\d{1,8}\)?){2,5})(?![\d-])"
_GROUPS = r"(?<![\d.-])\d{1,30}(?:-\d{1,30}){2,9}(?![\d-]|\.\d)"

# Behind these words a number is a name.
_NAMES = (
    "编号|代码|号码|学号|工号|邮编|邮政编码|门牌|型号|密码|验证码|校验码|口令|代号|尾号|房间|房号|房|分机|区号|卡号|账号|帐号|账户|帐户|"
    "身份证|证件|护照|执照|车牌|单号|订单|运单|流水|序列|会员|客户|用户|考号|准考证|航班|车次|班次|批次|批号|编码|识别码|邀请码|"
    "取件码|提货码|条码|条形码|激活码|兑换码|群号|群|桌号|工单|合同|发票|档案|病历|床位|许可证|备案|信箱|频道|频段|番号|"
    "股票|证券|基金代码|QQ|ID|Id|id|PIN|微信|后四位|后六位|末四位|手机|电话|座机|传真|热线|客服"
)
_NAMED = re.compile(
    rf"(?:{_NAMES})(?:号码|账号|代码|编号|群|号|是|为|[:：#]|\s){{0,4}}[A-Z]{{0,4}}\d[\d -]{{0,40}}\d{{2}}(?!\d|\.\d|%)"
    r"(?![个位张元次人台条名家亿万千余多份块平㎡米天吨斤克部只套件度场页]|小时|分钟|公里)"
)
_SHORT_NAMED = (
    r"(?:分机号?|尾号|转分机|尾数)(?:是|为|[:：]|\s){0,2}\d{1,8}(?!\d)|"
    r"(?<=[\d零一二三四五六七八九幺话请])转\d{1,6}(?![\d年月日人元次])"
)
_CALL = (
    r"(?:拨打|拨通|致电|呼叫|回拨|按|拨|打|请拨|报警|火警|求救|急救)(?:电话|热线|客服)?[:：]?\s*(?:\d{5}|1[12]\d)"
    r"(?!\d|\.\d|%|[分折个年人次元斤米公厘块万多天小秒场局把针页])"
)
_PLACES = (
    "室(?![内外])|房(?![车产屋贷子源价客地东])|号房|号楼|包厢|包间|教室|办公室|会议室|病房|寝室|宿舍|事件|高校|大学(?!生)|医院|国道|省道|县道|"
    "工作制|中学(?!生|老师|教师)|路(?:公交|车|电车|[，。]|$)|次列车|次航班|次高铁|次动车|航班|部队|高地|(?<=\\d{5})(?:报警|热线|急救|火警|客服|网站)"
)
_PLATE = (
    r"(?<=[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼])([A-Z])[·•\s-]?(?=(?:[A-Z]*\d){3})([A-Z\d]{5,6})"
    r"(?![A-Za-z\d])"
)
# Telephone lines that everyone knows by number.
_LINES = (
    r"(?:12306|"
    r"(?:11[0249]|12[02])(?=\s?(?:火警|报警|急救|查号|指挥|热线|出警|接警|救护|电话)))"
)
_MAKERS = "波音|空客|宝马|奔驰|奥迪|标致|雷诺|沃尔沃|马自达|荣威|图|米格|苏|安|伊尔|运|歼|轰|直|轻舟|五菱"


def _dial_within(match: re.Match[str]) -> str:
    """Digits one by one in their places; spaces and hyphens between them are silent."""
    text = re.sub(r"(?<=\d)[ -]+(?=\d)", "", match[0])
    return re.sub(r"\d+", lambda digits: dial(digits[0]), text)


def _mobile(match: re.Match[str]) -> str:
    return ("加八六" if match[1] else "") + dial(match[0][len(match[1] or "") :])


def _plate(match: re.Match[str]) -> str:
    """A number plate's letters and digits one by one."""
    return " ".join(match[1] + re.sub(r"\d", lambda digit: dial(digit[0]), match[2]))


def _version(match: re.Match[str]) -> str:
    return f"{match[1]}{'点'.join(cardinal(part) for part in match[2].split('.'))}"


_NOT_CODES = "".join(f"(?<!{code})" for code in ("USD", "RMB", "CNY", "EUR", "HKD", "JPY", "GBP"))

RULES: tuple[Rule, ...] = (
    rule(
        r"((?:热线|电话|客服|拨打|致电)(?:是|为|[:：]|\s){0,2})(\d{3,5}(?:\s?[、/或和]\s?\d{3,5}){1,8})(?!\d|\.\d|[个人元年])",
        lambda m: m[1] + re.sub(r"\d+", lambda line: dial(line[0]), m[2]),
    ),
    rule(
        r"(?<![A-Za-z])(IS[SB]N)\s?[:：]?\s?(\d[\d-]{5,20}X?)(?!\d)",
        lambda m: m[1] + re.sub("-", "", dial(m[2])) + "X" * m[2].endswith("X"),
    ),
    rule(
        r"(?<![A-Za-z])((?:GB/T|GB|ISO|IEC|DIN|JIS)\s?)(\d{2,6}(?:\.\d{1,3})?)([:：-])((?:19|20)\d\d)(?!\d)",
        lambda m: f"{m[1]}{read(m[2]).replace('.', '点')}{'杠' if m[3] == '-' else '，'}{read(m[4])}",
    ),
    rule(
        r"(?<![A-Za-z])(?:[Nn][Oo]\.|№)\s?(\d{2,12}(?:-\d{1,12}){1,4})(?!\d)",
        lambda m: f"number {read(m[1]).replace('-', '杠')}",
    ),
    # Digits that a form hides: 138****1234.
    rule(r"(?<![\d*])(\d{1,10})(\*{3,12})(\d{1,10})(?![\d*])", lambda m: dial(m[1]) + "星" * len(m[2]) + dial(m[3])),
    rule(r"(?<![\d.+])00(?:86|852|853|886|1|44|81|82)(?:[- ]\d{2,11}){1,4}(?![\d-]|\.\d)", lambda m: dial(m[0])),
    rule(rf"(?<![\d.,第]){_LINES}(?![\d.,]*\d|[个元人米块次万亿多名件公千克年天条步字余张]|%)", lambda m: dial(m[0])),
    rule(_PLATE, _plate),
    rule(_MOBILE, _mobile),
    rule(_FOREIGN, lambda m: "加" + dial(m[0])),
    rule(_LANDLINE, lambda m: dial(m[0])),
    Rule(_NAMED, _dial_within),
    rule(r"(?<=[号码])(?:是|为|[:：]|\s){0,2}\d{5,30}(?!\d|\.\d|%|[个位人元米])", _dial_within),
    rule(r"(?<=[楼栋座幢])\d{3,4}(?!\d|\.\d|[个元人米年])", _dial_within),
    rule(r"(?<!\d)(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?!\d|\.\d|[元人米个])", _dial_within),
    rule(r"(?<![\d-])(\d{1,3})-(\d{3,4})(?=室|号?房)", lambda m: f"{cardinal(m[1])}杠{dial(m[2])}"),
    rule(r"(?<![\d.])(\d{3,4})(?=[pP](?![A-Za-z\d]))", lambda m: dial(m[1])),
    rule(_SHORT_NAMED, _dial_within),
    rule(_CALL, _dial_within),
    # Versions of three parts, but no date (2024.5.1); of two parts behind a v.
    rule(r"((?<![A-Za-z\d])[vV])\s?(\d{1,4}(?:\.\d{1,4}){0,4})(?![\d.]*\d)(?!\.?[A-Za-z]*/)", _version),
    rule(r"(?<![\d.])()(\d{1,3}(?:\.\d{1,3}){2,4})(?![\d.]*\d)", _version),
    # abc123, MH370, iOS 17, but not m3 or CO2.
    rule(r"(?<![A-Za-z\d])([A-Za-z]{1,3}\d{1,2})-(\d{3,5})(?!\d|-|\.\d)", lambda m: m[1] + dial(m[2])),
    rule(r"(?<![A-Za-z])((?:RTX|GTX|RX|ISO|IEC|GB|GB/T|RFC|IEEE)\s)(\d{3,6})(?!\d|\.\d)", lambda m: m[1] + dial(m[2])),
    rule(rf"(?:{_NOT_CODES}(?<=[A-Za-z])-?|(?<=[A-Z]·))\d{{3,20}}(?![\d.]*\d)(?!-?\d)", lambda m: dial(m[0])),
    rule(rf"(?<![\d.第多少-])\d{{3,5}}(?={_PLACES})", lambda m: dial(m[0])),
    rule(rf"((?:{_MAKERS})-?)(\d{{3}})(?!\d|\.\d)", lambda m: m[1] + dial(m[2])),
    rule(r"(?<![\d.,-])(?:\d{13,40}|0\d{2,40})(?![\d.,]*\d)(?!\s*[个元人次米年天])", lambda m: dial(m[0])),
)
GROUPED: tuple[Rule, ...] = (rule(_GROUPS, lambda m: dial(m[0])),)
"""Numbers in three groups and more, joined by hyphens: what no date or time has claimed."""
