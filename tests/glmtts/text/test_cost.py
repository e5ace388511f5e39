"""What the longest text may cost, whatever it is made of: its time grows with its length, not faster."""

from __future__ import annotations

import re
import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glmtts.errors import TextError
from glmtts.text.frontend.frontend import Frontend
from tests.helpers.tiny_tokenizer import write_tokenizer

LENGTH = 5000
MAX_SECONDS = 5.0
"""Of processor time: ten times what the slowest shape took on one core. What is quadratic takes longer."""
PIECES = re.split(
    "[ ]",
    "中 一 行 了 十 亿 点 分 年 ¥ 。 ， ： （ ） “ ” … — 髮 𠀀 1 12 1,000 1.5 a A x the Mr. it's U.S. - -- + * ** \\ "
    "| _ __ ~ ~~ ` ``` ^ # $ € % & &amp; &#1; @ : , . ! ' \" ( ) [ ] ![ ]( [a]: { < > </ <b> </b> <a <!-- --> "
    "<script> <sup> <br> <td> <|H|><|AO3|> 😀 ² ½ α β あ 漢 가 http:// .com C:\\ km/h ℃ 10:30 2024-01-01 1/2 138 "
    "IV № → ≤ × √ ± <s> </s> <prosody> \n \n\n- \n> \n| \t",
)
SHAPES = ("中", "一明", "行长重还得地的了着为都好数种中", "髮乾後裡", "1*2*", "½?", "±%1.", "[", "**a", "👨\u200d👩")


@pytest.fixture(scope="module")
def frontend(tmp_path_factory: pytest.TempPathFactory) -> Frontend:
    frontend = Frontend(write_tokenizer(tmp_path_factory.mktemp("tokenizer")), phoneme_default=True)
    frontend.warm()
    return frontend


def _check(frontend: Frontend, text: str) -> None:
    start = time.process_time()
    with suppress(TextError):
        frontend.read(text[:LENGTH])
    assert time.process_time() - start < MAX_SECONDS


@pytest.mark.parametrize("unit", SHAPES)
def test_repeated_shapes(frontend: Frontend, unit: str) -> None:
    """The shapes that were slowest."""
    _check(frontend, unit * LENGTH)


@pytest.mark.slow
@settings(max_examples=25)
@given(
    opening=st.lists(st.sampled_from(PIECES), min_size=1, max_size=3).map("".join),
    closing=st.lists(st.sampled_from(PIECES), max_size=2).map("".join),
    ssml=st.booleans(),
)
def test_nests(frontend: Frontend, opening: str, closing: str, ssml: bool) -> None:
    """Half of the text opens something, the other half closes it."""
    half = LENGTH // 2 - len("<speak>")
    text = (opening * half)[:half] + (closing * half)[:half]
    _check(frontend, f"<speak>{text}</speak>" if ssml else text)
