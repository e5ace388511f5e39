"""What other rules left in Chinese text: brackets and quotes go, pauses become commas, symbols their names."""

from __future__ import annotations

import re
import unicodedata

from glmtts.text.characters import HANZI, PUNCTUATION
from glmtts.text.rules import Rule, rule
from glmtts.text.zh.numbers import read

_VARIANTS = {"噢": "哦", "欸": "诶"}  # characters that the model has hardly seen, by those that sound the same
_PER = "[秒天日周月年次人个件斤克吨米升平亩瓶盒箱袋包罐晚位户页套台度]|小时|分钟|公[斤里]|千[克米]|毫升|立方"
_NUMERALS = "一二三四五六七八九十百千万亿a-zA-Z"

_NAMES = {
    "†": "，", "？": "?", "！": "!", "²": "平方", "³": "立方", "+": "加", "=": "等于", "&": "和", "@": "艾特",
    ">": "大于", "<": "小于", "≥": "大于等于", "≤": "小于等于", "≈": "约等于", "±": "正负", "%": "百分号",
    "‰": "千分号", "∈": "属于", "∉": "不属于", "∪": "并", "∩": "交", "⊥": "垂直", "∥": "平行", "≠": "不等于",
    "∵": "因为", "∴": "所以", "∅": "空集", "⊂": "真包含于", "⊃": "包含", "⊆": "包含于", "⊇": "真包含", "⊄": "不属于",
    "⊅": "非超集", "⊈": "不属于", "⊉": "非超集", "□": "方框", "△": "德尔塔", "℃": "摄氏度", "°": "度", "℉": "华氏度",
    "×": "乘", "÷": "除以", "√": "根号", "∛": "三次根号", "∞": "无穷大", "∑": "求和", "∫": "积分", "∠": "角",
    "$": "美元", "€": "欧元", "£": "英镑", "￥": "元", "¥": "元", "№": "编号", "→": "到", "α": "阿尔法", "β": "贝塔",
    "γ": "伽玛", "Γ": "伽玛", "δ": "德尔塔", "Δ": "德尔塔", "ε": "艾普西龙", "ζ": "捷塔", "η": "依塔", "θ": "西塔",
    "Θ": "西塔", "ι": "艾欧塔", "κ": "喀帕", "λ": "拉姆达", "Λ": "拉姆达", "μ": "缪", "ν": "拗", "ξ": "克西",
    "Ξ": "克西", "ο": "欧米克伦", "π": "派", "Π": "派", "ρ": "肉", "ς": "西格玛", "Σ": "西格玛", "σ": "西格玛",
    "τ": "套", "υ": "宇普西龙", "φ": "服艾", "Φ": "服艾", "χ": "器", "ψ": "普赛", "Ψ": "普赛", "ω": "欧米伽",
    "Ω": "欧米伽",
}  # fmt: skip
_NAME_CLASS = "[" + "".join(map(re.escape, _NAMES)) + "]"

VARIANTS: tuple[Rule, ...] = (
    rule("|".join(_VARIANTS), lambda m: _VARIANTS[m[0]]),
    rule(f"([{HANZI}])々", r"\1\1"),
    rule(f"咯(?=[{PUNCTUATION}])", "喽"),
)

RULES: tuple[Rule, ...] = (
    rule(r"\\", ""),
    rule(r"(?<!\w)额(?!\w)", "呃"),
    rule(rf"(?<=[{_NUMERALS})米克升度吨秒])\s?\*\s?(?=\(?[{_NUMERALS}])", "乘"),
    rule(r"\*", ""),
    rule(r"(?<=[A-Za-z0-9])@(?=[A-Za-z0-9])", "艾特"),
    rule(r"(?<=[A-Za-z0-9])\.(?=[A-Za-z]{2})", "点"),
    rule(rf"(?<=[元块角米里次个吨度克升人字页件万亿])/(?={_PER})", "每"),
    rule(r"(?<=[A-Za-z])/(?=[A-Za-z])", " "),
    rule(r"[~～]+", "，"),
    rule(r"[()（）【】「」`《》『』〈〉〔〕{}\[\]‘]", ""),
    rule(r"(?<![A-Za-z])’|’(?![A-Za-z])|(?<![A-Za-z])'|'(?![A-Za-z])", ""),
    rule(r" - |——", "，"),
    rule(r"[,:：;；、/]+", "，"),
    rule(r"[.…‥]+", "。"),
    rule(r"[_·•\"“”|^]+", ""),
    rule(_NAME_CLASS, lambda m: _NAMES[m[0]]),
    # Behind a word it marks a footnote.
    rule("[⁰¹⁴-⁹]+", lambda m: read(unicodedata.normalize("NFKC", m[0]))),
    rule("’", "'"),
)
