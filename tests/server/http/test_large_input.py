"""Large inputs are read as small ones are, in slices."""

from __future__ import annotations

import base64
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.http.large_input import LARGE, decode_base64, has_more, turn

SIGNS = b'":,[{'


@given(st.binary(max_size=20), st.integers(0, 3), st.integers(1, 5))
@settings(max_examples=50)
def test_signs_are_counted_over_all_slices(part: bytes, slices: int, limit: int) -> None:
    """As if at once."""
    data = part + b"x" * slices * LARGE + part
    number = sum(data.count(sign) for sign in (b'"', b":", b",", b"[", b"{"))
    assert has_more(data, SIGNS, limit) == (number > limit)


@given(st.integers(0, 3), st.binary(max_size=9), st.integers(1, 77), st.sampled_from(["\n", " ", "\r\n\t"]))
@settings(max_examples=50)
def test_base64_is_decoded_over_all_slices(slices: int, end: bytes, every: int, space: str) -> None:
    """Whatever the length, and wherever the white space is."""
    data = b"\xfb" * slices * LARGE + end
    text = base64.b64encode(data).decode()
    assert decode_base64(space.join(text[i : i + every] for i in range(0, len(text), every))) == data


@pytest.mark.parametrize("size", [0, LARGE - 4, LARGE, 2 * LARGE])
@pytest.mark.parametrize("end", ["A", "AA", "AAA", "AA=", "A===", "AA==AAAA", "AAAA====", "AA=A", "é", "AA-_", "\0AAA"])
def test_what_is_no_base64(size: int, end: str) -> None:
    """Is refused wherever it stands."""
    with pytest.raises(ValueError, match=r"(?i)padding|base64|ascii"):
        decode_base64("A" * size + end)


def test_large_inputs_take_turns_and_small_ones_do_not_wait() -> None:
    """The second large one begins when the first is done."""
    entered = threading.Event()

    def read() -> None:
        with turn(LARGE + 1):
            entered.set()

    with turn(LARGE + 1):
        threading.Thread(target=read).start()
        with turn(LARGE):
            assert not entered.wait(0.05)
    assert entered.wait(10)
