"""Where the reference's front end reads a text wrong and ours does not, and a line-by-line comparison with it.

A difference is on purpose only if the text and the reference's reading of it show a known mistake.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glmtts.text.characters import PUNCTUATION
from glmtts.text.g2p import G2P
from glmtts.text.normalize import normalize
from glmtts.text.segment import segment

FIELDS = ("normalized", "segments", "segments_normalized", "phoneme")
EQUAL, ON_PURPOSE, DIFFERENT = "equal", "differs on purpose", "differs"


@dataclass(frozen=True)
class Mistake:
    """A known mistake of the reference: patterns of the texts that it befalls and of what its reading then shows."""

    text: str
    reading: str
    reason: str


_ZH = r"(?=[\s\S]*[\u4e00-\u9fff])"
_EN = r"(?![\s\S]*[\u4e00-\u9fff])"
_SPOKEN = "零幺一二三四五六七八九"

MISTAKES = (
    Mistake(rf"^{_ZH}[\s\S]*\d\s*-\s*\d", "减", "the hyphen of a telephone number, date or range is read as minus"),
    Mistake(rf"^{_ZH}[\s\S]*(?<!\d)[-−]\d", "^[^负减下]*$", "a negative number loses its minus"),
    Mistake(rf"^{_ZH}[\s\S]*\d[–—]+\d", "[–—]", "a dash between numbers is left unread"),
    Mistake(r"/", "每", "a slash that the grammar left is read as per"),
    Mistake(rf"^{_ZH}[\s\S]*[~～]", "[。.]", "a tilde ends a sentence"),
    Mistake(r"第(?:\d{3}|\d{5})(?!\d)", f"第[{_SPOKEN}]{{3}}", "an ordinal is read as a telephone number"),
    Mistake(
        rf"^{_ZH}[\s\S]*(?<![\d.,])(?:\d{{3}}|\d{{5}})(?![\d.,])",
        rf"[{_SPOKEN}]{{3}}",
        "a quantity of three or five digits is read as a telephone number",
    ),
    Mistake(r"[￥¥]\s*\d+\.\d", "", "an amount of money with a fraction is misread"),
    Mistake(r"[A-Za-z]-\d+\.\d", "", "the number in a model's name is misread"),
    Mistake(rf"^{_EN}[\s\S]*[A-Za-z]-\d", r"[a-z]", "a word and the number behind its hyphen stick together"),
    Mistake(rf"^{_ZH}[\s\S]*[A-Za-z\d]\.[A-Za-z\d]", "。", "a dot inside an address or version ends a sentence"),
    Mistake(r"[０-９Ａ-Ｚａ-ｚ]", "", "full-width digits are read after the grammar, not before"),
    Mistake(r"\^[\s\S]*\^|\^-|(?<![*x×\d.])\d+\^", "", "only the first power with a factor is read"),
    Mistake(rf"^{_ZH}[\s\S]*[=&@‰≥≤≈±]", "[=&@‰≥≤≈±]", "a sign is left unread"),
    Mistake(rf"^{_EN}[\s\S]*(?:(?<![A-Za-z])['‘’]|['‘’](?![A-Za-z]))", "", "quotation marks stick words together"),
    Mistake(rf"^{_EN}[\s\S]*[A-Za-z][^\w\s'‘’\-—.,?!:;][A-Za-z]", "", "a sign falls away and sticks words together"),
    Mistake(rf"^{_EN}[\s\S]*[，。！？；：、]", "", "full-width signs fall away and stick words together"),
    Mistake(rf"^{_EN}[\s\S]*[^\W\d_a-zA-Z]", "", "the spaces beside accented letters fall away"),
    Mistake(rf"^{_EN}[\s\S]*(?:\dm\b|\bNo\. ?\d|#\d|[=<>²³^½¼¾])", "", "a number with a sign or unit is misread"),
    Mistake(r"\n\s*\d+\. |^\d+\. ", "", "the number of a list item is misread"),
    Mistake(r"<\|[^|<>]*\|>", "", "phoneme tokens in the text are destroyed"),
    # English
    Mistake(rf"^{_EN}[\s\S]*\d{{3}}[-. ]\d{{4}}", "", "a telephone number is not read digit by digit"),
    Mistake(rf"^{_EN}[\s\S]*[$€£][\d,]*\.\d\d(?!\d)", "point", "cents are read as a decimal fraction"),
    Mistake(rf"^{_EN}[\s\S]*(?i:[ap]\.m\.)", "[ap]m", "a.m. and p.m. are read as words"),
    Mistake(rf"^{_EN}[\s\S]*(?:[A-Z]\.){{2}}", "", "initials are read as a word"),
    Mistake(
        rf"^{_EN}[\s\S]*\b(?i:st|ave|blvd|rd|prof|vs|etc|approx|vol|pp?|e\.g|i\.e|jan|feb|mar|apr|aug|sept?|oct|nov|dec)\.",
        "",
        "an abbreviation is left as written",
    ),
    Mistake(rf"^{_EN}[\s\S]*\b[IVXLC]{{2,}}\b", "[ivxlc]{2}", "a Roman numeral is read as letters"),
    Mistake(rf"^{_EN}[\s\S]*(?:\d['′]\d|\d[\"″])", "", "feet, inches, minutes and seconds lose their signs"),
    Mistake(rf"^{_EN}[\s\S]*\d:\d\d:\d\d", "", "a duration is read as a time of day"),
    Mistake(rf"^{_EN}[\s\S]*(?<![\d,])1,\d{{3}}(?!\d)", "thousand", "one thousand loses its one"),
    Mistake(rf"^{_EN}[\s\S]*(?<!\d)\d+(?:\.\d+){{2,}}", "", "a version or IP address is read as numbers"),
    Mistake(rf"^{_EN}[\s\S]*(?:[\w.]+@\w|www\.|://|[A-Z]:\\)", "", "the signs of an address are not read"),
    # Chinese
    Mistake(rf"^{_ZH}[\s\S]*(?<!\d)\d{{1,2}}:\d\d:\d\d", "点", "a duration is read as a time of day"),
    Mistake(
        rf"^{_ZH}[\s\S]*(?<!\d)\d\d年", "十[一二三四五六七八九]?年", "a year of two digits is read as a span of time"
    ),
    Mistake(rf"^{_ZH}[\s\S]*\d[.·]\d", "", "a day named by its figures is read as a decimal fraction"),
    Mistake(
        rf"^{_ZH}[\s\S]*\d(?:[kKwWMB]|[A-Za-zμΩ°]+)(?![a-z])", "", "a unit or scale behind a number is left as letters"
    ),
    Mistake(rf"^{_ZH}[\s\S]*约\s*\d+/\d", "分之约", "the word before a fraction is drawn into it"),
    Mistake(rf"^{_ZH}[\s\S]*[①-⓿Ⅰ-ⅿ½¼¾⅓⅔㍱-㏟\uff00-\uffef]", "", "a compatibility character is not read"),
    Mistake(rf"^{_ZH}[\s\S]*[IVX]{{2,}}", "[ivx]{2}", "a Roman numeral is read as letters"),
    Mistake(rf"^{_ZH}[\s\S]*\d(?:st|nd|rd|th)", "", "an English ordinal is read as a number with a unit"),
    Mistake(rf"^{_ZH}[\s\S]*[A-Za-z]+ [\s\S]*\d", "", "the numbers in an English sentence are read in Chinese"),
    Mistake(rf"^{_ZH}[\s\S]*\w'\w", "", "an apostrophe inside a word is lost"),
)


def reason(text: str, reading: str) -> str | None:
    """Why the reference's `reading` of `text` is wrong, or None when no mistake is known to befall it."""
    found = (m.reason for m in MISTAKES if re.search(m.text, text) and re.search(m.reading, reading))
    return next(found, None)


def parity_lines(golden_lines: Iterable[Mapping[str, Any]], data_dir: Path) -> Iterator[tuple[str, str, str, str]]:
    """(text, field, status, reason) of every field of every golden line; the reason is "" unless it differs on purpose.

    `data_dir` holds the reference's `G2P_replace_dict.jsonl` and `G2P_able_1word.json`. Raises OSError or ValueError.
    """
    lines = (data_dir / "G2P_replace_dict.jsonl").read_text("utf-8").splitlines()
    replace = {key: value for line in lines if line.strip() for key, value in json.loads(line).items()}
    g2p = G2P(replace, frozenset(json.loads((data_dir / "G2P_able_1word.json").read_text("utf-8"))))
    for line in golden_lines:
        text = line["text"]
        whole = normalize(text)
        pieces = segment(whole)
        again = [normalize(piece) for piece in pieces]
        for field, ours in zip(FIELDS, (whole, pieces, again, list(map(g2p, again))), strict=True):
            if ours == line[field]:
                yield text, field, EQUAL, ""
                continue
            why = reason(text, line["normalized"]) or _cut(line)
            yield text, field, ON_PURPOSE if why else DIFFERENT, why or ""


def _cut(line: Mapping[str, Any]) -> str | None:
    """The reference cuts a long sentence at its sixtieth unit, whatever the units weigh; ours at weight sixty."""
    words = re.search(r"[a-z]", line["normalized"])
    hard = any(piece.rstrip()[-1:] not in PUNCTUATION for piece in line["segments"])
    return "a sentence with Latin words is cut by units, not by length" if words and hard else None
