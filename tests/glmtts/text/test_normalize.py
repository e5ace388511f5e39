"""Normalisation: numbers, signs and dates as they are spoken; spans and meaning survive."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmtts.text.en.numbers import number_words
from glmtts.text.frontend.normalize import normalize, speakable


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("气温是-3.5℃", "气温是零下三点五摄氏度。"),
        ("零下-5℃", "零下五摄氏度。"),
        ("气温-5~-3℃", "气温零下五到零下三摄氏度。"),
        ("最低气温-12度", "最低气温零下十二度。"),
        ("值是-5，跌了-5%", "值是负五，跌了负百分之五。"),
        ("歼-20和神舟-13", "歼二十和神舟十三。"),
    ],
)
def test_negative_numbers(text: str, spoken: str) -> None:
    """A minus is 零下 before a temperature and else 负; the hyphen in a name is silent."""
    assert normalize(text) == spoken


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("电话021-5555-1234", "电话零二幺五五五五幺二三四。"),
        ("拨打010-12345678", "拨打零幺零幺二三四五六七八。"),
        ("手机138-0013-8000", "手机幺三八零零幺三八零零零。"),
        ("在2024-05-01开会", "在二零二四年五月一日开会。"),
        ("要3-5天，10%-20%", "要三到五天，百分之十到百分之二十。"),
        ("第3-5章", "第三到五章。"),
        ("2020-2023年", "二零二零年到二零二三年。"),
        ("算式5-3=2", "算式五减三等于二。"),
        ("比分3-2", "比分三比二。"),
        ("会议13:00-15:00", "会议十三点到十五点。"),
        ("用GLM-4.5和GPT-4", "用glm四点五和gpt四。"),
    ],
)
def test_hyphens(text: str, spoken: str) -> None:
    """A hyphen is read by what it means: telephone number, date, range, subtraction, score, name."""
    assert normalize(text) == spoken


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("价格￥128.50", "价格一百二十八点五零元。"),
        ("价格￥128.50元", "价格一百二十八点五零元。"),
        ("约￥100万，$20", "约一百万元，二十美元。"),
        ("共计1,234,567人", "共计一百二十三万四千五百六十七人。"),
        ("花了12999元", "花了一万两千九百九十九元。"),
        ("二百五十", "二百五十。"),
        ("速度5×10^-3米，10^3", "速度五乘十的负三次方米，十的三次方。"),
        ("密码是1234，住302室", "密码是幺二三四，住三零二室。"),
        ("第100次得了100分", "第一百次得了一百分。"),
        ("浓度5‰，版本1.2.3", "浓度千分之五，版本一点二点三。"),
        ("１２３个ＡＢＣ", "一百二十三个abc。"),
    ],
)
def test_chinese_numbers(text: str, spoken: str) -> None:
    """Money, powers, codes and quantities are read as such."""
    assert normalize(text) == spoken


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("5元/斤", "五元每斤。"),
        ("和/或", "和，或。"),
        ("TCP/IP协议", "tcp ip协议。"),
        ("元/平方米", "元每平方米。"),
        ("好的~走吧", "好的，走吧。"),
        ("周一~周五", "周一到周五。"),
        ("看www.example.com吧", "看www点example点com吧。"),
        ("x=3", "x equals three."),
        ("当x>3且x≤5时", "当x大于三且x小于等于五时。"),
        ("“引用”，《书》【注】", "引用，书注。"),
        ("咯咯，笑了咯", "咯喽，笑了喽。"),
        ("额，那个额头", "呃，那个额头。"),
        ("人々都来了", "人人都来了。"),
        ("见注¹²和❶", "见注一二和一。"),
        ("列奥纳多·达·芬奇", "列奥纳多达芬奇。"),
        ("好！真的吗？", "好.真的吗?"),
        ("一\n\n二", "一。二。"),
        ("**重点** `代码`", "重点代码。"),
    ],
)
def test_chinese_signs(text: str, spoken: str) -> None:
    """Slash and tilde are no full stops; brackets, quotes and Markdown's marks go."""
    assert normalize(text) == spoken


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("It's -5°C, 10-20%.", "it's minus five degrees celsius, ten to twenty percent."),
        ("$1,234.56, $1500 and 1,999", None),
        ("Call 555-1234.", "call five five five, one two three four."),
        ("the '90s and 1990s", "the nineties and nineteen nineties."),
        ("He said 'hi' and left.", "he said hi and left."),
        ("The students' books aren't his.", "the students books aren't his."),
        ("and/or", "and or."),
        ("GPT-4.5 and COVID-19", "gpt four point five and covid nineteen."),
        ("Hello，world！", "hello, world."),
        ("café au lait", "café au lait."),
        ("No. 5 is #1", "number five is number one."),
        ("Run 100m.", "run one hundred meters."),
        ("1. Open it\n2. Close it", "one. open it. two. close it."),
        ("221B", "two hundred and twenty one b."),
        ("2½ cups", "two and a half cups."),
        ("￥128.50", "one hundred and twenty eight point five zero yuan."),
        ("Wow!!! Really??", "wow. really?"),
    ],
)
def test_english(text: str, spoken: str | None) -> None:
    """English numbers are words, and no sign that falls away joins its neighbours."""
    expected = (
        "one thousand two hundred and thirty four dollars and fifty six cents, one thousand five hundred dollars "
        "and one thousand nine hundred and ninety nine."
    )
    assert normalize(text) == (spoken or expected)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "zero"),
        (13, "thirteen"),
        (40, "forty"),
        (104, "one hundred and four"),
        (1001, "one thousand and one"),
        (1234, "one thousand two hundred and thirty four"),
        (1_000_000, "one million"),
        (12_000_345, "twelve million three hundred and forty five"),
    ],
)
def test_number_words(value: int, words: str) -> None:
    """Whole numbers in words, with `and` before the last two digits."""
    assert number_words(value) == words


def test_spans_survive() -> None:
    """Phoneme spans pass through as they are, in Chinese and in English, and stick to their Chinese neighbours."""
    assert normalize("今天 <|X|><|IAN2|> 好，<|L|>5个") == "今天<|X|><|IAN2|>好，<|L|>五个。"
    assert normalize("say <|en:h|> twice") == "say <|en:h|> twice."


def test_emoji_and_invisible_characters_vanish() -> None:
    """Emoji, zero-width and control characters leave no trace, and no gap in a word."""
    assert normalize("好\u200b😀👨‍👩‍👧的\ufeff❤️") == "好的。"
    assert normalize("so\u00adft 👍🏽 ok\x07") == "soft ok."


@pytest.mark.parametrize("text", ["", " \n ", "😀", "。。。", "?!", "“”", "-", "\u200b", "《》", "...!"])
def test_nothing_to_say(text: str) -> None:
    """Text without letter or digit normalises to nothing that is speakable."""
    assert not speakable(normalize(text))


PARTS = [
    *"0123456789-~/.,:%+^#@=()$￥'\" \n\\<|>&!?，。！？、…—–½²①℃°今第以号是到咯额éあ한",
    "Dr.",
    "GPT",
    "<|X|>",
    "p.m.",
    "3.5",
]


@given(st.lists(st.sampled_from(PARTS), max_size=20).map("".join), st.sampled_from([None, "zh", "en"]))
def test_any_text(text: str, language: str | None) -> None:
    """Any text normalises to one line in lower case without digits; spans come through in order and number."""
    spoken = normalize(text, language)
    assert "\n" not in spoken
    assert spoken.count("<|X|>") == text.count("<|X|>")
    rest = spoken.replace("<|X|>", "")
    assert rest == rest.lower()
    assert not any(char in "0123456789" for char in rest)


def test_long_text() -> None:
    """A long text reads as its sentences do one by one."""
    sentence = "今天是2024年5月1日，气温-3.5℃。"
    assert normalize(sentence * 15) == normalize(sentence) * 15
