"""Text in pieces, as sentences."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.http.speech_socket.sentences import SentenceBuffer


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("Hello there. How are", "Hello there."),
        ("Hello there.", ""),
        ("It costs 3.14 and", ""),
        ("Ask Dr. Smith or J. R. Jones or Mrs. Brown", ""),
        ('"Really?" she said', '"Really?"'),
        ("Wait... what", "Wait..."),
        ("It was in 1999. Then", "It was in 1999."),
        ("1. first", ""),
        ("你好。今天", "你好。"),
        ("“你好！”他说", "“你好！”"),
        ("A title\nThe text", "A title\n"),
        ("One. Two! Three? Fo", "One. Two! Three?"),
    ],
)
def test_whole_sentences_are_taken(text: str, whole: str) -> None:
    """As soon as it is certain that they are whole: the next sign may belong to the number, name or sentence."""
    buffer = SentenceBuffer(1000)
    buffer.add(text)
    assert buffer.take() == whole
    assert buffer.flush() == text.removeprefix(whole)


@given(st.lists(st.text(alphabet="ab. !?。\n1", max_size=12), max_size=20), st.integers(3, 30))
def test_nothing_is_lost_and_nothing_is_too_long(pieces: list[str], max_chars: int) -> None:
    """However the text is cut: what is taken, joined, is the text, but for spaces between sentences."""
    buffer, taken = SentenceBuffer(max_chars), []
    for piece in pieces:
        buffer.add(piece)
        while text := buffer.take():
            taken.append(text)
    while len(buffer):
        taken.append(buffer.flush())
    assert all(len(text) <= max_chars for text in taken)
    assert "".join("".join(taken).split()) == "".join("".join(pieces).split())
