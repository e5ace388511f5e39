"""A line-by-line comparison with the published code's front end, and its known bugs.

A difference is intended only if the text and its published reading show a known bug.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glmtts.text.characters import PUNCTUATION
from glmtts.text.frontend.g2p import G2P
from glmtts.text.frontend.normalize import normalize
from glmtts.text.segment import segment
from glmtts.text.zh import polyphones

FIELDS = ("normalized", "segments", "segments_normalized", "phoneme")
EQUAL, INTENDED, DIFFERENT = "equal", "differs on purpose", "differs"


@dataclass(frozen=True)
class ReferenceBug:
    """A known bug of the published code: a pattern of the texts that trigger it, and one of its reading of them."""

    text: str
    reading: str
    reason: str


_ZH = r"(?=[\s\S]*[\u4e00-\u9fff])"
_EN = r"(?![\s\S]*[\u4e00-\u9fff])"
_SPOKEN = "零幺一二三四五六七八九"

REFERENCE_BUGS = (
    ReferenceBug(
        rf"^{_ZH}[\s\S]*\d\s*-\s*\d", "减", "the hyphen of a telephone number, date or range is read as minus"
    ),
    ReferenceBug(rf"^{_ZH}[\s\S]*(?<!\d)[-−]\d", "^[^负减下]*$", "a negative number loses its minus"),
    ReferenceBug(rf"^{_ZH}[\s\S]*\d[–—]+\d", "[–—]", "a dash between numbers is left unread"),
    ReferenceBug(r"/", "每", "a slash that the grammar left is read as per"),
    ReferenceBug(rf"^{_ZH}[\s\S]*[~～]", "[。.]", "a tilde ends a sentence"),
    ReferenceBug(r"第(?:\d{3}|\d{5})(?!\d)", f"第[{_SPOKEN}]{{3}}", "an ordinal is read as a telephone number"),
    ReferenceBug(
        rf"^{_ZH}[\s\S]*(?<![\d.,])(?:\d{{3}}|\d{{5}})(?![\d.,])",
        rf"[{_SPOKEN}]{{3}}",
        "a quantity of three or five digits is read as a telephone number",
    ),
    ReferenceBug(r"[￥¥]\s*\d+\.\d", "", "an amount of money with a fraction is misread"),
    ReferenceBug(r"[A-Za-z]-\d+\.\d", "", "the number in a model's name is misread"),
    ReferenceBug(rf"^{_EN}[\s\S]*[A-Za-z]-\d", r"[a-z]", "a word and the number behind its hyphen stick together"),
    ReferenceBug(rf"^{_ZH}[\s\S]*[A-Za-z\d]\.[A-Za-z\d]", "。", "a dot inside an address or version ends a sentence"),
    ReferenceBug(r"[０-９Ａ-Ｚａ-ｚ]", "", "full-width digits are read after the grammar, not before"),
    ReferenceBug(r"\^[\s\S]*\^|\^-|(?<![*x×\d.])\d+\^", "", "only the first power with a factor is read"),
    ReferenceBug(rf"^{_ZH}[\s\S]*[=&@‰≥≤≈±]", "[=&@‰≥≤≈±]", "a sign is left unread"),
    ReferenceBug(rf"^{_EN}[\s\S]*(?:(?<![A-Za-z])['‘’]|['‘’](?![A-Za-z]))", "", "quotation marks stick words together"),
    ReferenceBug(
        rf"^{_EN}[\s\S]*[A-Za-z][^\w\s'‘’\-—.,?!:;][A-Za-z]", "", "a sign falls away and sticks words together"
    ),
    ReferenceBug(rf"^{_EN}[\s\S]*[，。！？；：、]", "", "full-width signs fall away and stick words together"),
    ReferenceBug(rf"^{_EN}[\s\S]*[^\W\d_a-zA-Z]", "", "the spaces beside accented letters fall away"),
    ReferenceBug(rf"^{_EN}[\s\S]*(?:\dm\b|\bNo\. ?\d|#\d|[=<>²³^½¼¾])", "", "a number with a sign or unit is misread"),
    ReferenceBug(r"\n\s*\d+\. |^\d+\. ", "", "the number of a list item is misread"),
    ReferenceBug(r"<\|[^|<>]*\|>", "", "phoneme tokens in the text are destroyed"),
    # English
    ReferenceBug(rf"^{_EN}[\s\S]*\d{{3}}[-. ]\d{{4}}", "", "a telephone number is not read digit by digit"),
    ReferenceBug(rf"^{_EN}[\s\S]*[$€£][\d,]*\.\d\d(?!\d)", "point", "cents are read as a decimal fraction"),
    ReferenceBug(rf"^{_EN}[\s\S]*(?i:[ap]\.m\.)", "[ap]m", "a.m. and p.m. are read as words"),
    ReferenceBug(rf"^{_EN}[\s\S]*(?:[A-Z]\.){{2}}", "", "initials are read as a word"),
    ReferenceBug(
        rf"^{_EN}[\s\S]*\b(?i:st|ave|blvd|rd|prof|vs|etc|approx|vol|pp?|e\.g|i\.e|jan|feb|mar|apr|aug|sept?|oct|nov|dec)\.",
        "",
        "an abbreviation is left as written",
    ),
    ReferenceBug(rf"^{_EN}[\s\S]*\b[IVXLC]{{2,}}\b", "[ivxlc]{2}", "a Roman numeral is read as letters"),
    ReferenceBug(rf"^{_EN}[\s\S]*(?:\d['′]\d|\d[\"″])", "", "feet, inches, minutes and seconds lose their signs"),
    ReferenceBug(rf"^{_EN}[\s\S]*\d:\d\d:\d\d", "", "a duration is read as a time of day"),
    ReferenceBug(rf"^{_EN}[\s\S]*(?<![\d,])1,\d{{3}}(?!\d)", "thousand", "one thousand loses its one"),
    ReferenceBug(rf"^{_EN}[\s\S]*(?<!\d)\d+(?:\.\d+){{2,}}", "", "a version or IP address is read as numbers"),
    ReferenceBug(rf"^{_EN}[\s\S]*(?:[\w.]+@\w|www\.|://|[A-Z]:\\)", "", "the signs of an address are not read"),
    # Chinese
    ReferenceBug(rf"^{_ZH}[\s\S]*(?<!\d)\d{{1,2}}:\d\d:\d\d", "点", "a duration is read as a time of day"),
    ReferenceBug(
        rf"^{_ZH}[\s\S]*(?<!\d)\d\d年", "十[一二三四五六七八九]?年", "a year of two digits is read as a span of time"
    ),
    ReferenceBug(rf"^{_ZH}[\s\S]*\d[.·]\d", "", "a day named by its figures is read as a decimal fraction"),
    ReferenceBug(
        rf"^{_ZH}[\s\S]*\d(?:[kKwWMB]|[A-Za-zμΩ°]+)(?![a-z])", "", "a unit or scale behind a number is left as letters"
    ),
    ReferenceBug(rf"^{_ZH}[\s\S]*约\s*\d+/\d", "分之约", "the word before a fraction is drawn into it"),
    ReferenceBug(rf"^{_ZH}[\s\S]*[①-⓿Ⅰ-ⅿ½¼¾⅓⅔㍱-㏟\uff00-\uffef]", "", "a compatibility character is not read"),
    ReferenceBug(rf"^{_ZH}[\s\S]*[IVX]{{2,}}", "[ivx]{2}", "a Roman numeral is read as letters"),
    ReferenceBug(rf"^{_ZH}[\s\S]*\d(?:st|nd|rd|th)", "", "an English ordinal is read as a number with a unit"),
    ReferenceBug(rf"^{_ZH}[\s\S]*[A-Za-z]+ [\s\S]*\d", "", "the numbers in an English sentence are read in Chinese"),
    ReferenceBug(rf"^{_ZH}[\s\S]*\w'\w", "", "an apostrophe inside a word is lost"),
)


def reason(text: str, reading: str) -> str | None:
    """Why the published `reading` of `text` is wrong; None if no known bug explains it."""
    reasons = (bug.reason for bug in REFERENCE_BUGS if re.search(bug.text, text) and re.search(bug.reading, reading))
    return next(reasons, None)


def parity_lines(golden_lines: Iterable[Mapping[str, Any]], data_dir: Path) -> Iterator[tuple[str, str, str, str]]:
    """(text, field, status, reason) of each field of each golden line; the reason is "" if no difference is intended.

    `data_dir` has the published `G2P_replace_dict.jsonl` and `G2P_able_1word.json`. Raises OSError or ValueError.
    """
    lines = (data_dir / "G2P_replace_dict.jsonl").read_text("utf-8").splitlines()
    replace = {key: value for line in lines if line.strip() for key, value in json.loads(line).items()}
    g2p = G2P(replace, frozenset(json.loads((data_dir / "G2P_able_1word.json").read_text("utf-8"))))
    for line in golden_lines:
        text = line["text"]
        whole = normalize(text)
        pieces = segment(whole)
        again = [normalize(piece) for piece in pieces]
        for field, actual in zip(FIELDS, (whole, pieces, again, list(map(g2p, again))), strict=True):
            if actual == line[field]:
                yield text, field, EQUAL, ""
                continue
            why = reason(text, line["normalized"]) or _split_elsewhere(line)
            if field == "phoneme" and not why:
                why = _polyphones(g2p, again, line[field])
            yield text, field, INTENDED if why else DIFFERENT, why or ""


def _split_elsewhere(line: Mapping[str, Any]) -> str | None:
    """The published code splits a long sentence at its sixtieth unit, this one at weight sixty."""
    words = re.search(r"[a-z]", line["normalized"])
    hard = any(piece.rstrip()[-1:] not in PUNCTUATION for piece in line["segments"])
    return "a sentence with Latin words is cut by units, not by length" if words and hard else None


def _polyphones(g2p: G2P, pieces: list[str], phonemes: list[str]) -> str | None:
    """The reference takes a polyphone's reading from a word list alone; ours looks at the words around it, too."""
    if len(pieces) != len(phonemes):
        return None
    any_reading = r"(?:<\|[A-Z]+\d?\|>){1,2}"
    for piece, theirs in zip(pieces, phonemes, strict=True):
        pattern = "".join(
            any_reading if polyphones.has_rules(unit.text) and unit.text != unit.written else re.escape(unit.written)
            for unit in g2p.units(piece)
        )
        if not re.fullmatch(pattern, theirs):
            return None
    return "a polyphone is read without regard to the words around it"
