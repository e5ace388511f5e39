"""Files of cases (tab-separated, `#` starts a comment line), and how each kind compares expected and actual."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple


class Reading(NamedTuple):
    """A written text, and the alternatives of how it is spoken."""

    lang: str
    kind: str
    written: str
    spoken: tuple[str, ...]

    def matches(self, actual: str) -> bool:
        return comparable(actual, self.lang) in {comparable(spoken, self.lang) for spoken in self.spoken}


class Polyphone(NamedTuple):
    """A sentence, one of its characters by position, and the alternatives of that character's pinyin."""

    sentence: str
    position: int
    pinyin: tuple[str, ...]

    @property
    def char(self) -> str:
        return self.sentence[self.position]

    def actual(self, pronunciation: Sequence[tuple[str, str]]) -> str:
        """The pinyin of the character in a sentence's pronunciation; "" if it is not in there.

        Counts occurrences, because normalisation may change the text around the character.
        """
        earlier = self.sentence.count(self.char, 0, self.position)
        sounds = [sound for text, sound in pronunciation if text == self.char]
        return sounds[earlier] if earlier < len(sounds) else ""


class Text(NamedTuple):
    """A text to synthesise."""

    lang: str
    text: str


def comparable(text: str, lang: str) -> str:
    """What counts of a reading: no case, spaces and punctuation; in English no "and", in Chinese 幺 as 一."""
    if lang == "zh":
        return re.sub(r"[\W_]", "", text.lower()).replace("幺", "一")
    words = re.sub(r"[^\w\s]|_", "", text.lower().replace("-", " ")).split()
    return "".join(word for word in words if word != "and")


def read_readings(file: Path) -> list[Reading]:
    """Columns: language, kind, written (`\\n` is a line break), spoken (alternatives separated by `|`)."""
    return [
        Reading(lang, kind, written.replace("\\n", "\n"), tuple(spoken.split("|")))
        for lang, kind, written, spoken in _rows(file, 4)
    ]


def read_polyphones(file: Path) -> list[Polyphone]:
    """Columns: character, sentence (the character in [ ]), pinyin with tone digit (alternatives separated by `|`)."""
    cases = []
    for char, marked, pinyin in _rows(file, 3):
        before, bracket, after = marked.partition(f"[{char}]")
        if not bracket:
            raise SystemExit(f"{file}: expected [{char}] in the sentence, got {marked}")
        cases.append(Polyphone(before + char + after, len(before), tuple(pinyin.split("|"))))
    return cases


def read_texts(file: Path) -> list[Text]:
    """Columns: language, text."""
    return [Text(lang, text) for lang, text in _rows(file, 2)]


def _rows(file: Path, columns: int) -> Iterator[list[str]]:
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if line and not line.startswith("#"):
            cells = line.split("\t")
            if len(cells) != columns:
                raise SystemExit(f"{file}:{number}: expected {columns} columns, got {len(cells)}")
            yield cells
