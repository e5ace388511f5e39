"""Markdown and HTML to plain text: what is marked up, and what only looks like it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmtts.text.compatibility import clean
from glmtts.text.frontend.normalize import normalize
from glmtts.text.markup import strip_markup

LANGUAGES = ("zh", "en")


def cases(language: str) -> list[tuple[str, str, str]]:
    """(kind, written, plain) of each line of a language's table."""
    lines = (Path(__file__).parent / f"markup_{language}.tsv").read_text(encoding="utf-8").splitlines()
    return [(kind, *(cell.replace("\\n", "\n") for cell in cells)) for kind, *cells in map(_cells, lines[1:])]


def _cells(line: str) -> tuple[str, str, str]:
    kind, written, plain = line.split("\t")
    return kind, written, plain


def stripped(text: str) -> str:
    return clean(strip_markup(clean(text)))


@pytest.mark.parametrize("language", LANGUAGES)
def test_markup(language: str) -> None:
    """Each text is stripped as its line says."""
    wrong = [
        f"{kind}: {written!r}: expected {plain!r}, got {actual!r}"
        for kind, written, plain in cases(language)
        if (actual := stripped(written)) != plain
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("language", LANGUAGES)
def test_readings_stay(language: str) -> None:
    """No written text of the tables of readings loses a word: none of them is marked up."""
    lines = (Path(__file__).parent / f"readings_{language}.tsv").read_text(encoding="utf-8").splitlines()[1:]
    texts = [line.split("\t")[1] for line in lines]
    wrong = [
        f"{text!r}: {normalize(text, language)!r} became {actual!r}"
        for text in texts
        if (actual := normalize(stripped(text), language)) != normalize(text, language)
    ]
    assert not wrong, "\n".join(wrong)


@given(st.text(alphabet="*_`<>[]()!|~#&\\-+=ab1中。 \n\"'/", max_size=80))
def test_letters_stay(text: str) -> None:
    """Whatever the marks, the plain text has characters of the written one, and no more words."""
    plain = stripped(text)
    assert set(plain) <= set(text) | set("，, ")
    assert sum(map(str.isalnum, plain)) <= sum(map(str.isalnum, text))


@given(st.text(alphabet="ab1中，。 ", max_size=40))
def test_plain_text_stays(text: str) -> None:
    """A text without any mark stays as it is."""
    assert strip_markup(text) == text


def test_written_line_breaks() -> None:
    """A backslash with an n breaks a line as in a text without escapes, but not in a path."""
    assert stripped(r"- 苹果\n- 香蕉") == "苹果\n香蕉"
    assert stripped(r"C:\new *x* y") == r"C:\new x y"


REPEATED = (
    *("<", "*", "_", "[", "![", "](", "`", "`a", "&", "&#", "**a", "*a ", "a**", "> ", "- ", "|", "\\", "<!--", "~~"),
    *("<script>", "[a](", "[[](", "<b '\"", "<a ", "# ", "1. ", "<|", "_a_ ", "*a_b", "|a", "__a", "a-\n", "x*"),
)


@pytest.mark.parametrize("unit", REPEATED)
@pytest.mark.parametrize("end", ["", "x"])
def test_repeated_signs(unit: str, end: str) -> None:
    """20,000 repeated signs add no text, nor nest too deep; in quadratic time this would never end."""
    text = (unit * 20_000)[:20_000] + end
    assert sum(map(str.isalnum, strip_markup(text))) <= sum(map(str.isalnum, text))
