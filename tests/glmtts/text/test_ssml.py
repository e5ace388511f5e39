"""SSML: how its elements are read, and what is refused."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmtts.errors import TextError
from glmtts.text.characters import SPECIAL_SPAN
from glmtts.text.frontend.normalize import normalize
from glmtts.text.frontend.say_as import phonemes, say_as
from glmtts.text.frontend.ssml import is_ssml, parse
from glmtts.text.language import Language
from glmtts.text.pause import parse_time, split_pause, with_pause

LANGUAGES = ("zh", "en")


def cases(language: str) -> list[list[str]]:
    """[kind, written, spoken] of each line of a language's table."""
    lines = (Path(__file__).parent / f"ssml_{language}.tsv").read_text(encoding="utf-8").splitlines()
    return [line.replace("\\n", "\n").split("\t") for line in lines[1:]]


def spoken(inside: str) -> str:
    """What is said for the inside of a `<speak>` element, with the seconds of silence in brackets."""
    blocks = parse(f"<speak>{inside}</speak>")
    return "".join(
        normalize(block.text, block.language) + (f"[{block.pause_seconds:g}]" if block.pause_seconds else "")
        for block in blocks
    )


@pytest.mark.parametrize("language", LANGUAGES)
def test_elements(language: str) -> None:
    """Each document is read as its line says."""
    wrong = [
        f"{kind}: {written!r}: expected {expected!r}, got {actual!r}"
        for kind, written, expected in cases(language)
        if (actual := spoken(written)) != expected
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ('<speak xml:lang="zh-CN">10:00</speak>', None, "十点。"),
        ('<speak xml:lang="zh-CN">10:00</speak>', "en", "十点。"),
        ('<speak version="1.0" xmlns="http://www.w3.org/2001/10/synthesis">10:00</speak>', "zh", "十点。"),
        ('<?xml version="1.0" encoding="utf-16"?>\n<speak>10:00</speak>', None, "ten o'clock."),
        ('你好 <lang xml:lang="en">5</lang>', None, "你好five。"),
    ],
)
def test_the_language(text: str, language: str | None, expected: str) -> None:
    """The document's language comes first, then the request's, then the characters decide."""
    text = text if is_ssml(text) else f"<speak>{text}</speak>"
    (block,) = parse(text, language)  # type: ignore[arg-type]  # a literal from the table
    assert normalize(block.text, block.language) == expected


BOMB = (
    '<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "haha">'
    + "".join(f'<!ENTITY {name} "{f"&{chr(ord(name) - 1)};" * 10}">' for name in "bcdefghij")
    + "]><speak>&j;</speak>"
)
REFUSED = {
    "<speak>a": "no element found at line 1, column 9",
    "<speak>你好\n<|CH|> a < b</speak>": "not well-formed (invalid token) at line 2, column 11",
    "<speak>a &nbsp; b</speak>": "undefined entity at line 1",
    "<speak>a</speak>b": "junk after document element at line 1",
    "<speak><p></s></speak>": "mismatched tag at line 1",
    "<speak><b>x</b></speak>": "got <b> at line 1, column 8",
    "<speak><audio src='x'/></speak>": "got <audio>",
    "<speak><speak>x</speak></speak>": "got <speak>",
    "<speak foo='1'>a</speak>": "got foo at line 1, column 1",
    "<speak><p foo='1'>a</p></speak>": "of <p>, got foo",
    "<speak>a<break/></speak>": "expected time in <break>, got none",
    "<speak>a<break strength='weak'/></speak>": "got strength",
    "<speak>a<break time='11s'/></speak>": "at most 10s in ms or s in <break>, got '11s'",
    "<speak>a<break time='-1s'/></speak>": "got '-1s'",
    "<speak>a<break time='1'/></speak>": "got '1'",
    "<speak>a<break time='6s'/><break time='6s'/></speak>": "at most 10 s of <break> between two texts, got 12 s",
    "<speak><break time='1s'/>a</speak>": "expected text before <break>",
    "<speak>a<break time='1s'><s/></break></speak>": "expected text in <break>, got <s>",
    "<speak><say-as interpret-as='ordinal'>1</say-as></speak>": "got 'ordinal'",
    "<speak><say-as>1</say-as></speak>": "expected interpret-as in <say-as>, got none",
    "<speak><say-as interpret-as='date' format='ymd'>1</say-as></speak>": "got format",
    "<speak><say-as interpret-as='date'>2024-13-01</say-as></speak>": "expected date in <say-as>, got '2024-13-01'",
    "<speak><say-as interpret-as='date'>soon</say-as></speak>": "got 'soon'",
    "<speak><say-as interpret-as='date'>5</say-as></speak>": "expected date in <say-as>, got '5'",
    "<speak><say-as interpret-as='date'>0999-01-01</say-as></speak>": "got '0999-01-01'",
    "<speak><say-as interpret-as='time'>25:00</say-as></speak>": "expected time in <say-as>, got '25:00'",
    "<speak><say-as interpret-as='digits'>1a</say-as></speak>": "expected digits in <say-as>, got '1a'",
    "<speak><say-as interpret-as='cardinal'>one</say-as></speak>": "expected cardinal in <say-as>, got 'one'",
    "<speak><say-as interpret-as='telephone'>home</say-as></speak>": "expected telephone in <say-as>, got 'home'",
    "<speak><say-as interpret-as='characters'></say-as></speak>": "expected characters in <say-as>, got ''",
    "<speak><phoneme ph='a1'>x</phoneme></speak>": "expected alphabet in <phoneme>, got none",
    "<speak><phoneme alphabet='ipa' ph='x'>x</phoneme></speak>": "got 'ipa'",
    "<speak><phoneme alphabet='pinyin' ph='ma'>x</phoneme></speak>": "expected ph in pinyin, got 'ma'",
    "<speak><phoneme alphabet='pinyin' ph='bk4'>x</phoneme></speak>": "expected ph in pinyin, got 'bk4'",
    "<speak><phoneme alphabet='pinyin' ph=''>x</phoneme></speak>": "expected ph in pinyin, got ''",
    "<speak><phoneme alphabet='arpabet' ph='R XX1'>x</phoneme></speak>": "expected ph in arpabet, got 'R XX1'",
    "<speak><phoneme alphabet='arpabet' ph='R1'>x</phoneme></speak>": "got 'R1'",
    "<speak><phoneme alphabet='arpabet' ph='EH3'>x</phoneme></speak>": "got 'EH3'",
    "<speak><lang xml:lang='fr'>x</lang></speak>": "expected xml:lang zh or en, got 'fr'",
    "<speak><sub alias='a'><p>x</p></sub></speak>": "expected text in <sub>, got <p>",
    "<speak><?php x?></speak>": "got <?php?>",
    "<!DOCTYPE speak><speak>a</speak>": "expected no document type",
    "<?xml version='1.0'?><!DOCTYPE speak SYSTEM 'file:///etc/passwd'><speak>a</speak>": "expected no document type",
    BOMB: "expected no document type",
}


@pytest.mark.parametrize("text", REFUSED, ids=range(len(REFUSED)))
def test_refusals(text: str) -> None:
    """What is not well-formed or not understood is an error that names it, and where it stands."""
    assert is_ssml(text)
    with pytest.raises(TextError) as error:
        parse(text)
    assert error.value.field == "text"
    assert REFUSED[text] in str(error.value)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize("text", ["<speaker>", "speak", "<p>a</p>", "a <speak>b</speak>", "<!DOCTYPE html>a", ""])
def test_other_texts(text: str) -> None:
    """Only a text that begins with <speak> is SSML."""
    assert not is_ssml(text)


def test_deep_nesting() -> None:
    """The depth of a document is not limited."""
    (block,) = parse("<speak>" + "<p>" * 20_000 + "好" + "</p>" * 20_000 + "</speak>")
    assert block.text.strip() == "好"


@given(st.text(alphabet="abc。 ", max_size=20), st.integers(0, 10_000))
def test_written_pauses(text: str, milliseconds: int) -> None:
    """A pause is read back from a segment's text as it was written."""
    assert split_pause(with_pause(text, milliseconds / 1000)) == (text, milliseconds / 1000)


def test_times() -> None:
    """Times are in seconds or milliseconds."""
    assert [parse_time(time) for time in ("500ms", "1s", " 1.5s ", ".5s", "1", "1m", "-1s", "")] == [
        *(0.5, 1.0, 1.5, 0.5),
        *(None, None, None, None),
    ]


@given(
    st.sampled_from(["digits", "date", "time", "telephone", "characters", "cardinal"]),
    st.text(alphabet="0123456789-/.:年月日号 +,()aApPmMayrch一٣x@_", max_size=14),
    st.sampled_from(LANGUAGES),
)
def test_any_value_of_say_as(kind: str, text: str, language: Language) -> None:
    """It is refused, or in words that hold no figures."""
    with suppress(TextError):
        assert not re.search("[0-9]", normalize(say_as(kind, text, language), language))


@given(st.sampled_from(["pinyin", "arpabet"]), st.text(alphabet="zhongxlvüu:qa125 0'-RDEHTNGAY", max_size=10))
def test_any_pronunciation(alphabet: str, pronunciation: str) -> None:
    """It is refused, or consists of tokens."""
    with suppress(TextError):
        assert re.fullmatch(f"(?:{SPECIAL_SPAN.pattern})+", phonemes(alphabet, pronunciation))


@given(st.text(alphabet="<>/speak&;\"'= ab", max_size=60))
def test_any_text(inside: str) -> None:
    """Whatever stands in the root is read or refused."""
    with suppress(TextError):
        assert all(block.pause_seconds == 0 for block in parse(f"<speak>{inside}</speak>"))
