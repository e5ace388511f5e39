"""Graphemes to phonemes: words decide polyphones, the replacement dictionary comes first, spans stay."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from glmtts.text.frontend.g2p import G2P, phonemes_zh, plain, syllables
from glmtts.text.replacements import read_replacements
from tests.helpers.tiny_tokenizer import PHONEMES

LEXICON = {
    "hello": "<|en:h|><|en:O|>",
    "can't": "<|en:k|>",
    "dog": "<|en:d|>",
    "dogs": "<|en:d|><|en:z|>",
    "cat": "<|en:c|>",
    "cats": "<|en:c|><|en:s|>",
    "horse": "<|en:H|>",
    "horses": "<|en:H|><|en:I|><|en:z|>",
    "h": "<|en:eh|>",
    "x": "<|en:ex|>",
    "s": "<|en:es|>",
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("知", "<|ZH|><|III1|>"),
        ("四", "<|S|><|II4|>"),
        ("日", "<|R|><|III4|>"),
        ("鱼", "<|V2|>"),
        ("对", "<|D|><|UEI4|>"),
        ("嗯", "<|EN1|>"),
        ("行长", "<|H|><|ANG2|><|ZH|><|ANG3|>"),
        ("行走", "<|X|><|ING2|><|Z|><|OU3|>"),
        ("好的。OK", "<|H|><|AO3|><|D|><|E5|>。OK"),
    ],
)
def test_pinyin(text: str, expected: str) -> None:
    """A character is its initial and its final with tone, as the word that it stands in has it."""
    assert phonemes_zh(text) == expected


def test_unknown_character_stays() -> None:
    """A character without pronunciation stays, and its neighbours keep theirs."""
    assert syllables("好\U0002a6d0好")[::2] == [("H", "AO3"), ("H", "AO3")]
    assert phonemes_zh("\U00030000好") == "\U00030000<|H|><|AO3|>"


def test_longest_replacement_first() -> None:
    """Of two entries that fit, the longer one is taken; spans that stand in the text are never looked into."""
    g2p = G2P({"弦": "<|A|>", "弦乐": "<|B|>乐", "X": "bad"}, frozenset("好乐"))
    assert g2p("弦乐弦好<|X|>") == "<|B|>乐<|A|>好<|X|>"


def test_able_characters_stay() -> None:
    """A character on the list stays one; with an empty list none does."""
    assert G2P({}, frozenset("今天"))("今天好") == "今天<|H|><|AO3|>"
    assert G2P({}, frozenset())("今天") == "<|J|><|IN1|><|T|><|IAN1|>"


def test_without_list_doubtful_characters_are_marked() -> None:
    """Without a list, polyphones and rare characters are marked and plain ones stay."""
    marked = G2P({}, None)("今天行长重庆彳亍")
    assert marked.startswith("今天<|H|><|ANG2|><|ZH|><|ANG3|><|CH|><|ONG2|>")
    assert "彳" not in marked
    assert "天" in plain()
    assert not {"行", "长", "重", "了", "彳"} & plain()


def test_unknown_phonemes_stay() -> None:
    """A character whose phonemes the vocabulary lacks stays a character."""
    assert G2P({}, frozenset(), known=frozenset({"<|H|>", "<|AO3|>"}))("你好") == "你<|H|><|AO3|>"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, world", "<|en:h|><|en:O|>, world"),
        ("can't CAN’T", "<|en:k|> <|en:k|>"),
        ("dog's", "<|en:d|><|en:z|>"),
        ("cat's", "<|en:c|><|en:s|>"),
        ("horse's", "<|en:H|><|en:I|><|en:z|>"),
        ("cats dogs", "<|en:c|><|en:s|> <|en:d|><|en:z|>"),
        ("dogcats", "<|en:d|><|en:c|><|en:s|>"),
        ("HX hx's", "<|en:eh|> <|en:ex|> <|en:eh|> <|en:ex|> <|en:es|>"),
        ("unknown's", "unknown's"),
        ("<|hello|>", "<|hello|>"),
    ],
)
def test_english(text: str, expected: str) -> None:
    """Words become phones in any case, those not in the lexicon by stem, in two or by letters; else they stay."""
    assert G2P({}, frozenset(), LEXICON)(text) == expected


def test_english_stays_without_lexicon() -> None:
    """Without a lexicon English stays letters."""
    assert G2P({}, frozenset())("hello") == "hello"


@pytest.mark.slow
def test_loads_in_silence(tmp_path: Path) -> None:
    """The dictionaries load without a word on stdout or stderr and leave no file in the temporary folder."""
    code = "from glmtts.text.frontend.g2p import phonemes_zh; assert phonemes_zh('好') == '<|H|><|AO3|>'"
    root = Path(__file__).resolve().parents[3]
    run = subprocess.run(
        # Without byte code every module is compiled afresh, and compiling is what warns.
        [sys.executable, "-W", "error", "-B", "-X", f"pycache_prefix={tmp_path / 'none'}", "-c", code],
        cwd=root,
        env={"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path), "PYTHONPATH": str(root)},
        capture_output=True,
        check=False,
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, b"", b"")
    assert not list(tmp_path.iterdir())


def test_our_replacements() -> None:
    """Every entry of the shipped dictionary is spelt in phonemes alone, one final for each character."""
    file = Path(__file__).resolve().parents[3] / "G2P_replace_dict.jsonl"
    entries = read_replacements(file)
    assert entries["弦"] == "<|X|><|IAN2|>"
    for text, tokens in entries.items():
        names = re.findall(r"<\|([A-Z]+\d?)\|>", tokens)
        assert "".join(f"<|{name}|>" for name in names) == tokens
        assert sum(name[-1].isdigit() for name in names) == len(text)
        assert set(re.findall(r"<\|[^|]*\|>", tokens)) <= set(PHONEMES)


def test_accents_are_left_out() -> None:
    """A word with accents is read as the word without them."""
    g2p = G2P({}, None, {"cafe": "<|K|><|AE|>"})
    assert g2p("Café!") == "<|K|><|AE|>!"


def test_pronunciation() -> None:
    """What is said, unit by unit: pinyin, ARPAbet and replacements; "" for what isn't known, no punctuation."""
    lexicon = {"hello": "<|en:h|><|en:ə|><|en:l|><|en:ˈO|>"}
    replace = {"弦": "<|X|><|IAN2|>", "还钱": "<|H|><|UAN2|><|Q|><|IAN2|>", "GLM": "智谱"}
    g2p = G2P({**replace, "哦": "<|A1|><|en:l|>"}, frozenset("好"), lexicon)
    assert g2p.pronunciation("她长得好，弦！Hello xyz 1\U00030000还钱GLM哦<|X|>") == [
        ("她", "ta1"),
        ("长", "zhang3"),
        ("得", "de5"),
        ("好", "hao3"),
        ("弦", "xian2"),
        ("Hello", "HH AH0 L OW1"),
        ("xyz", ""),
        ("\U00030000", ""),
        ("还", "huan2"),
        ("钱", "qian2"),
        ("GLM", "智谱"),
        ("哦", "<|A1|><|en:l|>"),
        ("<|X|>", "<|X|>"),
    ]


def test_replacements_of_this_repository_have_pinyin() -> None:
    """Each syllable of G2P_replace_dict.jsonl, written as in the dictionary."""
    replace = read_replacements(Path(__file__).resolve().parents[3] / "G2P_replace_dict.jsonl")
    g2p = G2P(replace, frozenset())
    for text in replace:
        sounds = g2p.pronunciation(text)
        assert "".join(written for written, _ in sounds) == text
        assert all(re.fullmatch("[a-zü]+[1-5]", sound) for _, sound in sounds), sounds


@pytest.mark.parametrize("text", ["他长得很高，Hello dog！", "重慶<|X|>行长 x", ""])
def test_units_are_the_text(text: str) -> None:
    """The units in a row are the text, and what is written for them is the result."""
    g2p = G2P({"行长": "<|H|>"}, None, LEXICON)
    units = list(g2p.units(text))
    assert "".join(unit.text for unit in units) == text
    assert "".join(unit.written for unit in units) == g2p(text)
