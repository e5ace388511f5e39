"""The front end: text to segments of ids, and errors for text it cannot use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from glmtts.errors import LanguageError, TextError
from glmtts.text.frontend.frontend import Frontend, Segment
from glmtts.text.language import Language
from glmtts.text.tokenizer import Tokenizer
from tests.helpers.tiny_tokenizer import write_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def frontend(tokenizer: Tokenizer) -> Frontend:
    return Frontend(tokenizer, {"弦": "<|X|><|IAN2|>"}, frozenset("今天"), {"hello": "<|H|><|A1|>"})


def test_segments(frontend: Frontend, tokenizer: Tokenizer) -> None:
    """A segment has its index, its normalised text and that text's ids."""
    text = "今天" * 15 + "。" + "天" * 5
    segments = frontend.segments(text)
    assert segments == [
        Segment(0, "今天" * 15 + "。", tuple(tokenizer.encode("今天" * 15 + "。"))),
        Segment(1, "天" * 5 + "。", tuple(tokenizer.encode("天" * 5 + "。"))),
    ]


def test_phoneme_mode(frontend: Frontend, tokenizer: Tokenizer) -> None:
    """In phoneme mode the ids are phonemes, by replacements, word list and lexicon; the text is unchanged."""
    written = "今天<|X|><|IAN2|><|H|><|AO3|><|H|><|A1|>。"
    (segment,) = frontend.segments("今天弦好Hello", phoneme=True)
    assert segment.text == "今天弦好hello。"
    assert segment.ids == tuple(tokenizer.encode(written, allow_special=tokenizer.phonemes))


def test_phoneme_default(tokenizer: Tokenizer) -> None:
    """The checkpoint's default mode applies unless the caller gives one, for prompts and for text."""
    frontend = Frontend(tokenizer, {}, frozenset(), None, True)
    assert frontend.segments("好") == frontend.segments("好", phoneme=True)
    assert frontend.segments("好") != frontend.segments("好", phoneme=False)
    assert frontend.prompt_ids("好") == (*frontend.segments("好")[0].ids, *tokenizer.encode(" "))


def test_spans_in_any_mode(frontend: Frontend, tokenizer: Tokenizer) -> None:
    """A phoneme token in the text becomes its id in either mode."""
    expected = tuple(tokenizer.special_id(name) for name in ("<|H|>", "<|AO3|>"))
    for phoneme in (True, False):
        (segment,) = frontend.segments("<|H|><|AO3|>今天", phoneme=phoneme)
        assert segment.ids[:2] == expected
        assert segment.text == "<|H|><|AO3|>今天。"


@pytest.mark.parametrize("token", ["<|user|>", "<|audio_7|>", "<|endoftext|>", "<|NOPE|>", "<||>", "<|us\u200ber|>"])
def test_forbidden_tokens(frontend: Frontend, token: str) -> None:
    """Control, speech and unknown tokens in a text are errors."""
    with pytest.raises(TextError, match="phonemes") as raised:
        frontend.segments(f"今天{token}好")
    assert raised.value.field == "text"
    with pytest.raises(TextError) as raised:
        frontend.prompt_ids(f"今天{token}好")
    assert raised.value.field == "reference_text"


@pytest.mark.parametrize("text", ["", "  \n", "😀😀", "。！？…", "--- ***", "\u200b"])
def test_nothing_speakable(frontend: Frontend, text: str) -> None:
    """A text of nothing but spaces, emoji or signs is an error."""
    with pytest.raises(TextError, match="nothing to speak") as raised:
        frontend.segments(text)
    assert raised.value.field == "text"


@pytest.mark.parametrize(("text", "message"), [("a\0b", "NUL at character 1"), ("ab\udc00", "surrogate")])
def test_invalid_text(frontend: Frontend, text: str, message: str) -> None:
    """A NUL and half a surrogate pair are errors with their position."""
    with pytest.raises(TextError, match=message):
        frontend.segments(text)


@pytest.mark.parametrize("text", ["a" * 400, "天" * 300, "<|H|><|AO3|>" * 60, "word " * 60, "1" * 60])
def test_ids_are_bounded(tokenizer: Tokenizer, text: str) -> None:
    """No segment has more ids than the limit, and no text is lost, not even of one very long word."""
    frontend = Frontend(tokenizer, max_ids=50)
    segments = frontend.segments(text)
    assert max(len(segment.ids) for segment in segments) <= 50
    assert [segment.index for segment in segments] == list(range(len(segments)))
    if not text.startswith("1"):
        spoken = "".join(segment.text.rstrip("。. ") for segment in segments)
        assert spoken.replace(" ", "") == text.replace(" ", "")


def test_prompt(frontend: Frontend, tokenizer: Tokenizer) -> None:
    """A reference text is normalised and followed by one space; without speech there is no prompt."""
    assert frontend.prompt_ids("今天5天！") == tuple(tokenizer.encode("今天五天。 "))
    assert frontend.prompt_ids("") == ()
    assert frontend.prompt_ids(" 。") == ()


@pytest.mark.parametrize(("language", "spoken"), [(None, "ten o'clock."), ("en", "ten o'clock."), ("zh", "十点。")])
def test_language(frontend: Frontend, tokenizer: Tokenizer, language: Language | None, spoken: str) -> None:
    """The language says how numbers are read, in texts and in transcripts; without it the characters decide."""
    assert [segment.text for segment in frontend.segments("10:00", language=language)] == [spoken]
    assert frontend.prompt_ids("10:00", language=language) == tuple(tokenizer.encode(f"{spoken} "))
    assert frontend.segments("你好，10:00")[0].text == "你好，十点。"


def test_language_holds_for_every_part(tokenizer: Tokenizer) -> None:
    """A part of a text without Chinese characters is read in the language of the whole."""
    [*_, last] = Frontend(tokenizer, cut=lambda text: [text, "10:00"]).segments("你好", language="zh")
    assert last.text == "十点。"


def test_foreign_characters_are_left_out(frontend: Frontend) -> None:
    """They are neither in the segments nor in a transcript's ids; a replaced word is no foreign one."""
    text = "你好こんにちは。Привет, hello!"
    assert [segment.text for segment in frontend.segments(text)] == ["你好，hello。"]
    assert frontend.read(text).foreign == "こんにちはПривет"
    assert frontend.prompt_ids("안녕하세요") == ()
    replaced = frontend.with_replacements({"안녕": "<|H|><|AO3|>"})
    assert replaced.read("안녕 여러분 hi").foreign == "여러분"


@pytest.mark.parametrize("text", ["안녕하세요.", "こんにちは、世界の😀", "Привет!"])
@pytest.mark.parametrize("segmented", [True, False])
def test_unsupported_language(frontend: Frontend, text: str, segmented: bool) -> None:
    """The error says which languages are spoken."""
    with pytest.raises(LanguageError, match=r"expected Chinese \(zh\) or English \(en\), got only [A-Z]") as raised:
        frontend.segments(text, segmented=segmented)
    assert raised.value.field == "text"


def test_pronunciation(frontend: Frontend) -> None:
    """A segment's characters and words with what will be said."""
    assert frontend.pronunciation("今天弦。") == [("今", "jin1"), ("天", "tian1"), ("弦", "xian2")]


@pytest.mark.slow
def test_light_import() -> None:
    """Importing the front end loads neither torch nor a dictionary; warming it loads the dictionaries."""
    code = (
        "import sys; import glmtts.text.frontend.frontend as f\n"
        "assert not {'torch', 'jieba', 'pypinyin', 'opencc'} & set(sys.modules)\n"
        "from glmtts.text.tokenizer import Tokenizer, byte_ranks\n"
        "f.Frontend(Tokenizer(byte_ranks(), {})).warm()\n"
        "assert {'jieba', 'pypinyin', 'opencc'} <= set(sys.modules) and 'torch' not in sys.modules"
    )
    root = Path(__file__).resolve().parents[3]
    subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=root, check=True)


def test_replacements_come_first_and_are_checked(tokenizer: Tokenizer) -> None:
    """New pronunciations come before the old ones; the original front end is unchanged."""
    old = Frontend(tokenizer, {"你": "<|N|>", "好": "<|H|>"}, frozenset("你好"))
    new = old.with_replacements({"好": "<|AO3|>"})
    assert old.segments("你好", phoneme=True)[0].ids == tuple(
        tokenizer.encode("<|N|><|H|>。", allow_special=tokenizer.phonemes)
    )
    assert new.segments("你好", phoneme=True)[0].ids == tuple(
        tokenizer.encode("<|N|><|AO3|>。", allow_special=tokenizer.phonemes)
    )
    for words in ({"好": "<|user|>"}, {"<|N|>": "好"}, {"": "<|N|>"}, {"好": "a\0"}):
        with pytest.raises(TextError, match="expected text mapped to") as caught:
            old.with_replacements(words)
        assert caught.value.field == "g2p_replace"


def test_a_segment_is_taken_as_it_is(tokenizer: Tokenizer) -> None:
    """`segmented` text gives the same segment, although normalising it again would change it."""
    frontend = Frontend(tokenizer, max_ids=150)
    text = "Hello。world，十点三十分。"
    assert frontend.segments(text)[0].text != text
    [same] = frontend.segments(text, segmented=True)
    assert (same.index, same.text) == (0, text)
    for first in frontend.segments("It costs 3.50 now. 今天的气温是零下三点五摄氏度，湿度百分之六十五。" * 3):
        assert frontend.segments(first.text, segmented=True)[0].ids == first.ids
    for wrong in ("。", "<|user|>", "a" * 151, "a\0"):
        with pytest.raises(TextError) as caught:
            frontend.segments(wrong, segmented=True)
        assert caught.value.field == "text"


def test_markup(tokenizer: Tokenizer) -> None:
    """Markdown and HTML are left out, unless their signs are to be read."""
    frontend = Frontend(tokenizer)
    assert frontend.segments("# **好**\n- 1 &lt; 2")[0].text == "好。一小于二。"
    assert frontend.segments("1 &lt; 2")[0].text != frontend.segments("1 &lt; 2", strip_markup=False)[0].text
    with pytest.raises(TextError, match=r"this model's phonemes, got '<\|user\|>'"):
        frontend.segments("&lt;|user|&gt;好")


def test_ssml(tokenizer: Tokenizer) -> None:
    """Breaks separate segments and become their pauses; each segment is taken back as it is written."""
    frontend = Frontend(tokenizer)
    text = '<speak>你好<break time="1s"/>。<break time="500ms"/><p>世界</p><break time="2s"/></speak>'
    segments = frontend.segments(text)
    assert [(segment.index, segment.text, segment.pause_seconds) for segment in segments] == [
        (0, "你好。", 1.5),
        (1, "世界。", 2.0),
    ]
    assert segments[0].written == '你好。<break time="1500ms"/>'
    for segment in segments:
        [again] = frontend.segments(segment.written, segmented=True)
        assert (again.text, again.ids, again.pause_seconds) == (segment.text, segment.ids, segment.pause_seconds)
    for wrong in ("<speak/>", "<speak>。</speak>", "<speak>&lt;|user|&gt;</speak>", "<speak><|user|></speak>"):
        with pytest.raises(TextError) as caught:
            frontend.segments(wrong)
        assert caught.value.field == "text"


def test_phonemes_of_ssml(tokenizer: Tokenizer) -> None:
    """A pronunciation becomes this model's phonemes, or an error; a replacement works inside the elements."""
    frontend = Frontend(tokenizer, {"好": "<|N|>"})
    [segment] = frontend.segments('<speak><phoneme alphabet="pinyin" ph="ni3">你</phoneme></speak>', phoneme=False)
    assert segment.ids == tuple(tokenizer.encode("<|N|><|I3|>.", allow_special=tokenizer.phonemes))
    [segment] = frontend.segments("<speak><p>好</p></speak>", phoneme=True)
    assert segment.ids == tuple(tokenizer.encode("<|N|>。", allow_special=tokenizer.phonemes))
    with pytest.raises(TextError, match="this model's phonemes, got"):
        frontend.segments('<speak><phoneme alphabet="arpabet" ph="OY1">oi</phoneme></speak>')
