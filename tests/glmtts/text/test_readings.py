"""Readings by kind: what is written, and how it is spoken."""

from __future__ import annotations

from pathlib import Path

import pytest

from glmtts.text.frontend.normalize import normalize

LANGUAGES = ("zh", "en")


def cases(language: str) -> list[tuple[str, str, str]]:
    """(kind, written, spoken) of each line of a language's table."""
    lines = (Path(__file__).parent / f"readings_{language}.tsv").read_text(encoding="utf-8").splitlines()
    return [(kind, written, spoken) for kind, written, spoken in (line.split("\t") for line in lines[1:])]


@pytest.mark.parametrize("language", LANGUAGES)
def test_readings(language: str) -> None:
    """Each text is read as its line says."""
    wrong = [
        f"{kind}: {written!r}: expected {spoken!r}, got {actual!r}"
        for kind, written, spoken in cases(language)
        if (actual := normalize(written, language)) != spoken
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("language", LANGUAGES)
def test_in_a_sentence(language: str) -> None:
    """A reading doesn't depend on a sentence before it."""
    before = {"zh": "你好。", "en": "Good morning. "}[language]
    exempt = {"plain", "score", "punct"} if language == "zh" else {"plain", "punct"}
    spoken_before = normalize(before, language)
    joint = " " if language == "en" else ""
    wrong = [
        f"{written!r}: expected {expected!r}, got {actual!r}"
        for kind, written, spoken in cases(language)
        if kind not in exempt
        and (actual := normalize(before + written, language))[:-1]
        != (expected := f"{spoken_before}{joint}{spoken}")[:-1]
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("language", LANGUAGES)
def test_twice(language: str) -> None:
    """What is read once stays as it is, whether its language is told or not."""
    for _, _, spoken in cases(language):
        assert normalize(spoken, language) == spoken
        assert normalize(spoken) == spoken


def test_the_language_decides() -> None:
    """Without a language the characters decide."""
    assert normalize("10:00。", "zh") == "十点。"
    assert normalize("10:00。") == normalize("10:00。", "en") == "ten o'clock."
    assert normalize("好，10:00。") == "好，十点。"


def test_an_unknown_language() -> None:
    """Another language is an error."""
    with pytest.raises(ValueError, match="language: expected one of zh, en, got 'fr'"):
        normalize("bonjour", "fr")
