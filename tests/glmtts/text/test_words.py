"""Which ids belong to which word."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import pytest

from glmtts.checkpoint.components import load_frontend
from glmtts.config import GenerationConfig
from glmtts.text.frontend.frontend import Frontend
from glmtts.text.frontend.g2p import Unit
from glmtts.text.frontend.words import word_spans
from glmtts.text.tokenizer import Tokenizer
from tests.helpers.server import ROOT

NANO = ROOT / "checkpoints" / "nano"


@pytest.fixture(scope="module")
def frontend() -> Frontend:
    tokenizer = Tokenizer.from_dir(NANO / "vq32k-phoneme-tokenizer")
    return load_frontend(Path(NANO / "frontend"), tokenizer, {}, GenerationConfig(phoneme=True))


@pytest.mark.parametrize("phoneme", [True, False])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("今天3点见。", ["今", "天", "三", "点", "见"]),
        ("Don't go, it's 5 o'clock!", ["don't", "go", "it's", "five", "o'clock"]),
        ("他说 hello 了吗？", ["他", "说", "hello", "了", "吗"]),
    ],
)
def test_words_have_all_ids_but_those_of_punctuation(
    frontend: Frontend, text: str, words: list[str], phoneme: bool
) -> None:
    """As they are spoken, numbers written out, in order; with phonemes, each has ids of its own."""
    [segment] = frontend.read(text, phoneme=phoneme).segments
    spans = frontend.words(segment)
    assert [span.text for span in spans] == words
    borders = list(chain.from_iterable((span.start, span.end) for span in spans))
    assert borders == sorted(borders)
    assert 0 <= borders[0] <= borders[-1] <= len(segment.ids)
    if phoneme:
        assert all(span.exact and span.start < span.end for span in spans)


@pytest.mark.parametrize(
    "text",
    [
        '<speak><phoneme alphabet="arpabet" ph="HH AH0 L OW1">x</phoneme> there</speak>',
        "<|en:h|><|en:ə|><|en:l|><|en:ˈO|> there",
    ],
)
def test_phones_that_are_written_are_those_of_the_word(frontend: Frontend, text: str) -> None:
    """In SSML and inline, though their tokens have letters of the phonetic alphabet."""
    [written], [word] = (frontend.segments(text, phoneme=True) for text in (text, "hello there"))
    assert written.ids == word.ids


def test_ids_that_belong_to_several_words_are_guessed() -> None:
    """In proportion to the characters."""
    units = [Unit("ab", "ab", ""), Unit(" ", " ", ""), Unit("cdefg", "cdefg", "")]
    spans = word_spans(units, (1, 2, 3, 4), lambda text: tuple(map(ord, text)))
    assert [(span.text, span.start, span.end, span.exact) for span in spans] == [
        ("ab", 0, 1, False),
        ("cdefg", 2, 4, False),
    ]
