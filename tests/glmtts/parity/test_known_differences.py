"""The comparison with the published front end."""

from __future__ import annotations

import pytest

from glmtts.parity.known_differences import DIFFERENT, EQUAL, FIELDS, INTENDED, parity_lines, reason
from tests.helpers.golden import load_case, needs_reference, reference_data


@needs_reference
def test_golden_lines() -> None:
    """Each golden line is equal in all fields, or differs by a known bug of the published code."""
    lines, _, _ = load_case("text_frontend")
    rows = list(parity_lines(lines, reference_data()))
    assert len(rows) == len(lines) * len(FIELDS)
    assert not [row for row in rows if row[2] == DIFFERENT]
    # The rest differ on purpose, each with its reason: numbers, signs and polyphones are read otherwise.
    assert sum(row[2] == EQUAL for row in rows) >= 0.8 * len(rows)
    assert all(bool(row[3]) == (row[2] == INTENDED) for row in rows)


@needs_reference
def test_a_difference_needs_a_known_bug() -> None:
    """A wrong result for a text that the published code reads correctly is not an intended difference."""
    line = {"text": "今天好。", "normalized": "今天坏。", "segments": ["今天坏。"]}
    line |= {"segments_normalized": ["今天坏。"], "phoneme": ["今天坏。"]}
    rows = list(parity_lines([line], reference_data()))
    assert [row[2:] for row in rows] == [(DIFFERENT, "")] * len(FIELDS)


@pytest.mark.parametrize(
    ("text", "reading", "word"),
    [
        ("气温-3℃", "气温三摄氏度。", "minus"),
        ("在2024-05-01", "在两千零二十四减零五减零一。", "hyphen"),
        ("和/或", "和每或。", "slash"),
        ("好~走", "好。走。", "tilde"),
        ("第100次", "第幺零零次。", "ordinal"),
        ("￥128.50", "一元二十八点五零。", "money"),
        ("Call 555-1234 at 8:05 a.m.", "call five fifty five-one thousand at eight o five am.", "telephone"),
        (
            "Call 555-1234.",
            "call five hundred and fifty five to one thousand two hundred and thirty four.",
            "telephone",
        ),
        ("at 8:05 a.m.", "at eight o five am.", "a.m."),
        ("约1/3的人", "三分之约一的人。", "fraction"),
    ],
)
def test_reasons(text: str, reading: str, word: str) -> None:
    """A known bug is recognised by the text and the published reading together."""
    assert word in (reason(text, reading) or "")
    assert reason("今天好。", reading) is None
