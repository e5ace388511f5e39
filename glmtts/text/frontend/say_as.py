"""The readings that SSML's `<say-as interpret-as="…">` and `<phoneme alphabet="…">` ask for."""

from __future__ import annotations

import re
from collections.abc import Callable

from glmtts.errors import TextError
from glmtts.text.characters import PUNCTUATION
from glmtts.text.en import arpabet
from glmtts.text.en import numbers as english
from glmtts.text.frontend.g2p import syllable_tokens
from glmtts.text.frontend.normalize import normalize
from glmtts.text.language import Language
from glmtts.text.zh import numbers as chinese

_CARDINAL = re.compile(r"([-−+]?)(\d{1,60}(?:,\d{3})*(?:\.\d{1,60})?)", re.ASCII)
_CLOCK = re.compile(r"([01]?\d|2[0-4]):[0-5]\d(:[0-5]\d)?(\s?[AaPp]\.?[Mm]\.?)?", re.ASCII)
_NUMERIC_DATE = re.compile(r"\d{1,4}(?:[-/.年]\d{1,4}(?:[-/.月]\d{1,4}日?|月)?)?|\d{1,2}月\d{1,2}[日号]", re.ASCII)
_PINYIN = re.compile(r"([a-zêü]{1,6}:?)([0-5])[\s'’-]*")
_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
_SIGNS = {
    ".": ("dot", "点"), "-": ("dash", "杠"), "_": ("underscore", "下划线"),
    "@": ("at", "艾特"), "/": ("slash", "斜杠"), "\\": ("backslash", "反斜杠"),
    "#": ("hash", "井号"), "*": ("star", "星号"), "+": ("plus", "加号"),
    "=": ("equals", "等号"), "&": ("and", "和号"), "%": ("percent", "百分号"),
    "$": ("dollar", "美元符号"), ":": ("colon", "冒号"), ";": ("semicolon", "分号"),
    ",": ("comma", "逗号"), "?": ("question mark", "问号"), "!": ("exclamation mark", "感叹号"),
    "'": ("apostrophe", "撇号"), '"': ("quote", "引号"), "(": ("open bracket", "左括号"),
    ")": ("close bracket", "右括号"), "<": ("less than", "小于号"), ">": ("greater than", "大于号"),
    "~": ("tilde", "波浪号"), "^": ("caret", "脱字符"), "|": ("bar", "竖线"),
    "[": ("open bracket", "左方括号"), "]": ("close bracket", "右方括号"), "{": ("open brace", "左花括号"),
    "}": ("close brace", "右花括号"), "`": ("backtick", "反引号"),
}  # fmt: skip


def say_as(kind: str, text: str, language: Language) -> str:
    """`text` in words of the language "zh" or "en". TextError for a kind that is not known or does not fit the text."""
    if kind not in _KINDS:
        raise TextError(f"text: expected interpret-as {', '.join(_KINDS)}, got {kind[:40]!r}", field="text")
    words = _KINDS[kind](text.strip(), language == "zh")
    if not words:
        raise TextError(f"text: expected {kind} in <say-as>, got {text[:40]!r}", field="text")
    return words


def phonemes(alphabet: str, pronunciation: str) -> str:
    """The tokens `<|…|>` of a pronunciation in "pinyin" (`zhong4 guo2`) or "arpabet" (`R EH1 D`).

    TextError for another alphabet and for what is not written in it.
    """
    if alphabet not in _ALPHABETS:
        raise TextError(f"text: expected alphabet {' or '.join(_ALPHABETS)}, got {alphabet[:40]!r}", field="text")
    tokens = _ALPHABETS[alphabet](pronunciation.strip())
    if not tokens:
        raise TextError(f"text: expected ph in {alphabet}, got {pronunciation[:40]!r}", field="text")
    return tokens


def read_in(text: str, language: Language) -> str:
    """`text` read in a language, without the full stop that ends a normalised text."""
    words = normalize(text, language)
    if words[-1:] in PUNCTUATION and text.rstrip()[-1:] not in PUNCTUATION:
        words = words[:-1]
    return words


def _pinyin(pronunciation: str) -> str:
    text = pronunciation.lower()
    if not re.fullmatch(f"(?:{_PINYIN.pattern})+", text):
        return ""
    syllables = [f"{match[1].replace('u:', 'v')}{match[2].replace('0', '5')}" for match in _PINYIN.finditer(text)]
    tokens = list(map(syllable_tokens, syllables))
    return "".join(tokens) if all(tokens) else ""


def _arpabet(pronunciation: str) -> str:
    phones = pronunciation.upper().split()
    return arpabet.to_tokens(" ".join(phones)) if all(map(arpabet.is_phone, phones)) else ""


_ALPHABETS: dict[str, Callable[[str], str]] = {"pinyin": _pinyin, "arpabet": _arpabet}


# Each returns "" for a text that is not of its kind.


def _digits(text: str, is_chinese: bool) -> str:
    digits = re.sub(r"[\s-]", "", text)
    if not digits.isascii() or not digits.isdecimal():
        return ""
    return chinese.read(digits) if is_chinese else english.digit_words(digits)


def _telephone(text: str, is_chinese: bool) -> str:
    if not re.fullmatch(r"\+?[0-9\s().-]+", text) or not re.search("[0-9]", text):
        return ""
    groups = re.findall(r"[0-9]+", text)
    if is_chinese:
        return ("加" if text[0] == "+" else "") + "，".join(map(chinese.dial, groups))
    return ("plus " if text[0] == "+" else "") + ", ".join(map(english.digit_words, groups))


def _characters(text: str, is_chinese: bool) -> str:
    return " ".join(filter(None, (_character(char, is_chinese) for char in text if not char.isspace())))


def _character(char: str, is_chinese: bool) -> str:
    if char in _SIGNS:
        return _SIGNS[char][is_chinese]
    if char.isascii() and char.isdecimal():
        return chinese.read(char) if is_chinese else english.digit_words(char)
    return char.lower()


def _cardinal(text: str, is_chinese: bool) -> str:
    match = _CARDINAL.fullmatch(re.sub(r"(?<=\d)\s(?=\d{3})", "", text))
    if match is None:
        return ""
    if is_chinese:
        return {"": "", "+": "正"}.get(match[1], "负") + chinese.cardinal(match[2])
    return {"": "", "+": "plus "}.get(match[1], "minus ") + english.decimal_words(match[2])


def _date(text: str, is_chinese: bool) -> str:
    language: Language = "zh" if is_chinese else "en"
    if re.fullmatch("[0-9]{8}", text):
        text = f"{text[:4]}-{text[4:6]}-{text[6:]}"
    if not _NUMERIC_DATE.fullmatch(text):
        words = read_in(text, language)  # May 1, 2024
        return words if re.search(r"\d", text) and not re.search(r"\d", words) else ""
    year, month, day = _order(re.findall("[0-9]+", text))
    if not re.fullmatch(r"(?:1\d|20)\d\d|", year) or not (1 <= int(month or 1) <= 12 and 1 <= int(day or 1) <= 31):
        return ""
    if not year and not (month and day):
        return ""
    if is_chinese:
        words = f"{chinese.read(year)}年" if year else ""
        return words + "".join(
            chinese.cardinal(str(int(part))) + unit for part, unit in zip((month, day), "月日", strict=True) if part
        )
    if not year:
        return read_in(f"{_MONTHS[int(month) - 1]} {int(day)}", language)
    return read_in("-".join([year, *(part.zfill(2) for part in (month, day) if part)]), language)


def _order(numbers: list[str]) -> tuple[str, str, str]:
    """Year, month and day, "" for what is missing. 12/25/2024 begins with the month, 25/12/24 with the day."""
    first, second, third = [*numbers, "", ""][:3]
    if len(first) == 4:
        return first, second, third
    if len(third) == 2:
        third = ("20" if int(third) < 50 else "19") + third
    return (third, second, first) if int(first) > 12 else (third, first, second)


def _time(text: str, is_chinese: bool) -> str:
    return read_in(text, "zh" if is_chinese else "en") if _CLOCK.fullmatch(text) else ""


_KINDS: dict[str, Callable[[str, bool], str]] = {
    "digits": _digits,
    "date": _date,
    "time": _time,
    "telephone": _telephone,
    "characters": _characters,
    "cardinal": _cardinal,
}
