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

from glmtts.text import polyphones
from glmtts.text.characters import PUNCTUATION
from glmtts.text.g2p import G2P
from glmtts.text.normalize import normalize
from glmtts.text.segment import segment

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
    ReferenceBug(
        rf"^{_EN}[\s\S]*\d{{3}}-\d{{4}}", "hundred|thousand", "a telephone number is read as a range of numbers"
    ),
    ReferenceBug(r"\n\s*\d+\. |^\d+\. ", "", "the number of a list item is misread"),
    ReferenceBug(r"<\|[^|<>]*\|>", "", "phoneme tokens in the text are destroyed"),
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
        for field, ours in zip(FIELDS, (whole, pieces, again, list(map(g2p, again))), strict=True):
            if ours == line[field]:
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
