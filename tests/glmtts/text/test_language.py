"""The language of a text by its characters."""

from __future__ import annotations

import pytest

from glmtts.text.language import Language, language_of


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Hello 5", "en"),
        ("5 é", "en"),
        ("10 點", "zh"),
        ("Hello 你", "zh"),
        ("10:00。", None),
        ("-5℃", None),
        ("1+1=2", None),
        ("5 Ω", None),
        ("Привет 5", None),
        ("<|ZH|><|A1|> 5", None),
        ("<p>5 < 7</p>", None),
        ("", None),
    ],
)
def test_language_of(text: str, language: Language | None) -> None:
    """One ideograph makes a text Chinese, else one Latin letter English; other texts have no language."""
    assert language_of(text) == language
