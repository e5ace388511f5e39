"""scripts/check_words.py on a few cases of each kind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scripts.words.cases import Polyphone, Reading, comparable, read_polyphones
from tests.helpers.server import ROOT


def check(kind: str, cases: str, folder: Path) -> tuple[int, list[str]]:
    """Exit status and output lines of the script."""
    file = folder / "cases.tsv"
    file.write_text(f"# a comment\n{cases}", encoding="utf-8")
    command = [sys.executable, "scripts/check_words.py", kind, str(file), "--work", str(ROOT / ".tools")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, done.stdout.splitlines()


@pytest.mark.parametrize(
    ("lang", "one", "other"),
    [
        ("en", "Twenty-one hundred and five!", "twenty one hundred five"),
        ("en", "It's 9 a.m.", "its 9 am"),
        ("zh", "幺零零，八 号。", "一零零八号"),
    ],
)
def test_readings_are_compared_without_case_spaces_and_punctuation(lang: str, one: str, other: str) -> None:
    assert comparable(one, lang) == comparable(other, lang)
    assert Reading(lang, "", "", ("x", one)).matches(other)


def test_other_words_are_another_reading() -> None:
    assert comparable("android", "en") != comparable("roid", "en")
    assert not Reading("zh", "", "", ("十点", "十点整")).matches("十点半")


def test_a_polyphone_is_found_by_its_occurrence() -> None:
    """Also if normalisation changed the text before it; a sound that is missing is empty."""
    case = Polyphone("头发长长了1cm。", 3, ("zhang3",))
    sounds = [("头", "tou2"), ("发", "fa5"), ("长", "chang2"), ("长", "zhang3"), ("了", "le5")]
    assert case.char == "长"
    assert case.actual(sounds) == "zhang3"
    assert case.actual(sounds[:3]) == ""


def test_a_line_that_is_not_a_case_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "cases.tsv"
    for line, message in (
        ("长\t[长]江", "cases.tsv:1: expected 3 columns, got 2"),
        ("长\t长江\tx", r"expected \[长\]"),
    ):
        file.write_text(line, encoding="utf-8")
        with pytest.raises(SystemExit, match=message):
            read_polyphones(file)


@pytest.mark.slow
def test_failed_readings_are_listed_and_counted(tmp_path: Path) -> None:
    cases = "zh\tnumber\t3个。\t三个\nen\tnumber\t12 cats\ttwelve cats|a dozen cats\nen\tnumber\t7 dogs\tsix dogs\n"
    status, lines = check("readings", cases, tmp_path)
    assert status == 1
    assert lines == ["en number '7 dogs': expected six dogs, got seven dogs.", "readings: 2 of 3"]


@pytest.mark.slow
def test_failed_polyphones_are_listed_and_counted(tmp_path: Path) -> None:
    status, lines = check("polyphones", "长\t[长]江很长。\tchang2\n行\t[行]吗？\thang2\n", tmp_path)
    assert status == 1
    assert lines == ["行 (character 1) in 行吗？: expected hang2, got xing2", "polyphones: 1 of 2"]


@pytest.mark.recogniser
def test_short_texts_are_synthesised_and_transcribed(tmp_path: Path) -> None:
    """In two voices of the language, on a server of its own."""
    pytest.importorskip("faster_whisper", reason="needs the extra eval")
    _, lines = check("short", "en\tPlease come in.\n", tmp_path)
    assert lines[-2].startswith("en: of 2 heard exactly ")
    assert lines[-1].startswith("short: ")
    assert lines[-1].endswith(" of 2")
