"""Sentences of about five seconds, no two alike, so that nothing that is kept of one helps with another."""

from __future__ import annotations

_WHO = (
    "the teacher",
    "my neighbour",
    "an old sailor",
    "the young doctor",
    "her brother",
    "a tired farmer",
    "the mayor",
)
_DID = (
    "opened",
    "carried",
    "painted",
    "repaired",
    "sold",
    "forgot",
    "described",
    "borrowed",
    "returned",
    "measured",
    "hid",
)
_WHAT = (
    "a wooden box", "the green bicycle", "two heavy chairs", "an empty bottle", "the kitchen window", "a letter",
    "the garden gate", "seven old maps", "a silver spoon", "the broken clock", "his winter coat", "a basket of apples",
    "the school piano",
)  # fmt: skip
_WHEN = (
    "on Monday morning",
    "before the storm came",
    "after the long meeting",
    "while the others were asleep",
    "last week",
)
_WHO_ZH = ("老师", "我的邻居", "一位老水手", "年轻的医生", "她的哥哥", "疲倦的农民", "市长")
_DID_ZH = ("打开了", "搬走了", "画好了", "修好了", "卖掉了", "忘记了", "描述了", "借来了", "送回了", "量过了", "藏起了")
_WHAT_ZH = (
    "一个木头盒子", "绿色的自行车", "两把很重的椅子", "一个空瓶子", "厨房的窗户", "一封信", "花园的大门",
    "七张旧地图", "一把银勺子", "坏了的钟", "他的冬天大衣", "一篮子苹果", "学校的钢琴",
)  # fmt: skip
_WHEN_ZH = ("星期一早上", "暴风雨来之前", "开完长会以后", "大家都睡着的时候", "上个星期")

ENGLISH = (_WHEN, _WHO, _DID, _WHAT)
CHINESE = (_WHEN_ZH, _WHO_ZH, _DID_ZH, _WHAT_ZH)
COUNT = 2 * len(_WHEN) * len(_WHO) * len(_DID) * len(_WHAT)
"""How many there are."""


def sentence(index: int) -> str:
    """The sentence with this number, 0 … COUNT − 1; the languages alternate."""
    if not 0 <= index < COUNT:
        raise ValueError(f"sentence: expected a number from 0 to {COUNT - 1}, got {index}")
    number, parts = index // 2, []
    for words in CHINESE if index % 2 else ENGLISH:
        number, which = divmod(number, len(words))
        parts.append(words[which])
    when, who, did, what = parts
    if index % 2:
        return f"{when}，{who}{did}{what}，然后慢慢地走回家，一路上什么也没有说。"
    return f"{when[0].upper() + when[1:]} {who} {did} {what}, and then walked home without saying a word."
