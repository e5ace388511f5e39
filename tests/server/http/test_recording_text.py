"""Recordings as text are decoded in parts as they are in one."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.http.large_input import LARGE
from server.http.recording_text import RecordingDecoder, RecordingTextError, decode_recording


@given(st.integers(0, 3), st.binary(max_size=9), st.integers(1, 77), st.sampled_from(["\n", " ", "\r\n\t"]))
@settings(max_examples=50)
def test_base64_is_decoded_over_all_slices(slices: int, end: bytes, every: int, space: str) -> None:
    """Whatever the length, and wherever the white space is."""
    data = b"\xfb" * slices * LARGE + end
    text = base64.b64encode(data).decode()
    assert decode_recording(space.join(text[i : i + every] for i in range(0, len(text), every))) == data


@given(st.binary(max_size=4000), st.sampled_from(["", "data:audio/wav;base64,"]), st.integers(1, 300))
@settings(max_examples=50)
def test_parts_may_end_anywhere(data: bytes, head: str, size: int) -> None:
    """Also within the head of a data: URI."""
    text, decoder = head + base64.b64encode(data).decode(), RecordingDecoder()
    for start in range(0, len(text), size):
        decoder.add(text[start : start + size])
    assert decoder.finish() == data


@pytest.mark.parametrize("size", [0, LARGE - 4, LARGE, 2 * LARGE])
@pytest.mark.parametrize("end", ["A", "AA", "AAA", "AA=", "A===", "AA==AAAA", "AAAA====", "AA=A", "é", "AA-_", "\0AAA"])
def test_what_is_no_base64(size: int, end: str) -> None:
    """Is refused wherever it stands."""
    with pytest.raises(RecordingTextError, match=r"(?i)padding|base64|ascii"):
        decode_recording("A" * size + end)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("https://example.org/a.wav", "expected the audio itself, got a URL"),
        ("data:audio/wav,AAAA", "expected a data: URI in base64, got one without ;base64"),
    ],
)
@pytest.mark.parametrize("size", [0, LARGE])
def test_what_is_not_the_audio_itself(text: str, message: str, size: int) -> None:
    """No address is followed."""
    with pytest.raises(RecordingTextError, match=message):
        decode_recording(text + "A" * size)
