"""Latin words in Chinese text: names with signs, ordinals, Roman numerals, and whole stretches of English."""

from __future__ import annotations

import re

from glmtts.text import roman
from glmtts.text.characters import HANZI
from glmtts.text.en.numbers import number_words, ordinal_words
from glmtts.text.en.verbalize import verbalize
from glmtts.text.rules import Rule, rule
from glmtts.text.zh.numbers import cardinal

# A stretch with one of these words is an English sentence, not a name in a Chinese one.
_ENGLISH_WORDS = (
    "the|an|is|are|was|were|be|been|am|do|does|did|don't|have|has|had|will|would|can|can't|could|should|shall|"
    "may|might|must|of|to|in|on|at|for|from|with|by|about|into|and|or|but|if|when|that|this|these|those|there|it|"
    "it's|he|she|they|we|you|I'm|I've|I'll|my|your|his|her|its|our|their|me|him|us|them|what|who|where|how|why|"
    "not|no|yes|please|costs?|only|over|under|than|every|each|all|some|per|let's|need|needs|want|wants|got|get|"
    "gets|take|took|make|made|buy|bought|paid|pay|see|meet|call|left|went|go"
)
_WORD_START, _WORD_END = r"(?<![\w'@./\\-])", r"(?![\w'@/\\-]|\.\w)"
_ENGLISH = re.compile(rf"{_WORD_START}(?:(?i:{_ENGLISH_WORDS}){_WORD_END}|I (?=[a-z]))")
_WORDS = re.compile(rf"{_WORD_START}[A-Za-z][A-Za-z']+{_WORD_END}")
_LOWER_WORDS = re.compile(rf"{_WORD_START}[a-z]{{3,}}{_WORD_END}")
# Rooms and chapters are numbered in English where they are named in English.
_NUMBERED = (
    "Room|Gate|Chapter|Page|Unit|Lesson|Level|Section|Part|Floor|Building|Flight|Route|Highway|Street|Avenue|"
    "Platform|Terminal|Track|Table|Figure|Question|Step|Day|Week|Episode|Season|Volume|Book|Stage|Round|Group|"
    "Team|Bus|Zone|Area|Block|Grade|Class|Exercise|Task|Apartment|Suite"
)
_STRETCH = re.compile(rf"[A-Za-z$€£#'\"(\d+-][^{HANZI}，。！？；：、（）《》“”「」\n]*")
# A number right before a Chinese word belongs to that: "I bought 3个".
_COUNTS_CHINESE = re.compile(rf"(?<=\d)[{HANZI}]")
_CERTAIN_NUMERAL = r"II|III|IV|VI|VII|VIII|IX|XI|XII|XIII|XIV|XV|XVI|XVII|XVIII|XIX|XX|XXI|XXX"
# The last two characters of rulers' names; 路易十四 alone goes without a 世.
_RULER = "(?:亨利|莎白|查理|乔治|德华|破仑|本笃|威廉|腓力|理查|詹姆|保罗|约翰|山大|琳娜|古拉|彼得|利普|烈特|奥波)"
_CLASSES = "[期型级类度等章卷部集代世号篇节季册编幕]|世纪|阶段|因子|抗体|区|组|科"


def read_english(text: str, keep: str) -> str:
    """`text` with its English stretches as English is spoken, numbers included; names in Chinese sentences stay."""

    def read(match: re.Match[str]) -> str:
        stretch = match[0]
        if not re.search(r"\d|[$€£%&@.'’]", stretch) or not _is_english(stretch):
            return stretch
        end = len(stretch.rstrip(" ,.!?;:"))
        if _COUNTS_CHINESE.match(match.string, match.end()):
            end = len(stretch.rstrip("0123456789.,"))
        space = " " if stretch[:end].endswith(" ") else ""
        return f"{verbalize(stretch[:end], keep=keep)}{space}{stretch[end:]}"

    return _STRETCH.sub(read, text)


def _is_english(stretch: str) -> bool:
    if len(_WORDS.findall(stretch)) < 2:
        return False
    return _ENGLISH.search(stretch) is not None or len(_LOWER_WORDS.findall(stretch)) >= 3


def _numeral(match: re.Match[str]) -> str:
    number = roman.value(match[0])
    return match[0] if number is None else cardinal(str(number))


_ABBREVIATIONS = {
    "Mr": "mister", "Mrs": "missus", "Ms": "miss", "Dr": "doctor", "Prof": "professor", "Vol": "volume",
    "Fig": "figure", "Ch": "chapter",
}  # fmt: skip

NAMES: tuple[Rule, ...] = (
    rule(
        rf"(?<![A-Za-z])({_NUMBERED})\s(\d{{1,4}})(?![\d.:/-]|\s?[%A-Za-z])",
        lambda m: f"{m[1]} {number_words(int(m[2]))}",
    ),
    rule(r"(?<![A-Za-z])([CFJcfj])[#♯](?![A-Za-z])", r"\1 sharp"),
    rule(r"(?<![A-Za-z\d.])\.(?=(?:NET|Net|net)(?![A-Za-z]))", "点"),
    rule(r"(?<=[A-Za-z])\.(?=(?:js|JS|io|ai|NET|Net|net|py|ts)(?![A-Za-z]))", "点"),
    rule(r"(?<![A-Za-z&])([A-Za-z])\s?&\s?([A-Za-z])(?![A-Za-z&])", r"\1 and \2"),
    rule(r"(?<=[A-Za-z])\s?&\s?(?=[A-Za-z])", " and "),
    rule(r"№\s?(\d{1,9})(?!\.?\d)", r"\1号"),
    rule(r"(?<![A-Za-z])([Nn][Oo]\.|№)\s?(?=\d)", "number "),
    rule(r"(?<![\dA-Za-z.])(\d{1,4})(?:st|nd|rd|th)(?![A-Za-z])", lambda m: f" {ordinal_words(int(m[1]))} "),
    rule(r"(?<!\d)(?:7-11|7-ELEVEn|7-Eleven)(?!\d|\.\d|[-年月日])", "seven eleven"),
    rule(r"(?<![A-Za-z])vs\.?(?![A-Za-z])", " versus ", re.IGNORECASE),
    rule(r"(?<![A-Za-z])(?<!斜杠)etc\.?(?![A-Za-z])", " et cetera "),
    rule(r"(?<![A-Za-z-])A-([D-Z])(?![A-Za-z-])", r"A到\1"),
    rule(r"(?<=[A-Za-z])-(?=[A-Za-z])", " "),
    rule(r"(?<![A-Za-z])(Mr|Mrs|Ms|Dr|Prof|Vol|Fig|Ch)\.\s?(?=[\w(（])", lambda m: f"{_ABBREVIATIONS[m[1]]} "),
    rule(r"(?<![A-Za-z])Ph\.?\s?D(?![A-Za-z])\.?", "phd"),
    rule(r"(?<=\d)[xX](?=\s?(?:速|加速|快|慢|变焦|放大|光学|缩放|提升|杠杆))", "倍"),
    rule(r"(?<![A-Za-z.])((?:[A-Za-z]\.){2,9})", lambda m: " ".join(m[1].replace(".", "")) + " "),
    # CO2 is spelled, not read as a word.
    rule(r"(?<![A-Za-z])[A-Z]{2,3}(?=\d)", lambda m: " ".join(m[0])),
    rule(r"(\d{1,3})\s?#(?=\s?[楼栋房门铺机线，。.]|$)", r"\1号"),
    rule(r"#\s?(\d{1,4})(?![\d#])", r"\1号"),
    rule(r"(?<=[A-Za-z])'(?=[A-Za-z])", "’"),
)

NUMERALS: tuple[Rule, ...] = (
    rule(f"{roman.SIGNS}{{1,9}}", _numeral),
    rule(rf"(?:(?<=第)|(?<=第\s))(?:{roman.NUMERAL}|[ivx]{{1,6}})(?=\s?[{HANZI}])", _numeral),
    rule(rf"(?<![A-Za-z\d.-])(?:{_CERTAIN_NUMERAL})(?=[A-Ea-e]?(?:{_CLASSES}))", _numeral),
    rule(r"(?<![A-Za-z\d.-])[IV](?=(?:期|级|类|度(?!假)|因子|型(?!领|字|槽)))", _numeral),
    rule(rf"(?<=[{HANZI}])[IV](?=世(?!界))", _numeral),
    rule(rf"(?<={_RULER})(?:{_CERTAIN_NUMERAL})(?![A-Za-z\d世])", lambda m: f"{_numeral(m)}世"),
    rule(rf"(?<=[{HANZI}])(?:{_CERTAIN_NUMERAL})(?![A-Za-z\d]|设计|系统|手册|视觉|标识)", _numeral),
)
