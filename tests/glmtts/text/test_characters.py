"""Traditional to simplified characters: one for one, in context."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmtts.text.characters import simplified


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("重慶", "重庆"),
        ("我要睡覺了", "我要睡觉了"),
        ("頭髮和發財", "头发和发财"),
        ("皇后後天來", "皇后后天来"),
        ("乾隆曬乾了", "乾隆晒干了"),
        ("他說著話", "他说着话"),
        ("很顯著的著作", "很显著的著作"),
        ("裏面和裡面", "里面和里面"),
    ],
)
def test_traditional(written: str, expected: str) -> None:
    """Context decides which simplified character a traditional one becomes."""
    assert simplified(written) == expected


@pytest.mark.parametrize("text", ["", "很显著的著作", "皇后在干什么", "乾坤", "café 2024, <|X|>"])
def test_already_simplified(text: str) -> None:
    """A simplified text stays as it is."""
    assert simplified(text) == text


@given(st.text(st.sampled_from("重慶睡覺著頭髮發財后後乾隆裏a1，𠮷") | st.characters(categories=["Lo", "Nd"])))
def test_length(text: str) -> None:
    """Character i of the result stands for character i of the text."""
    assert len(simplified(text)) == len(text)
