"""The tokenizer: the official layout, and no special tokens from text unless allowed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmtts.errors import CheckpointError, TextError
from glmtts.text.tokenizer import Tokenizer, byte_ranks, is_phoneme, write
from tests.helpers.tiny_tokenizer import AUDIO, CONTROLS, PHONEMES, write_tokenizer

BYTES = Tokenizer(byte_ranks(), {"<|user|>": 256, "<|X|>": 257, "<|audio_7|>": 258})


def test_round_trip(tmp_path: Path) -> None:
    """A written tokenizer reads back with the same ids for the same text and names."""
    written = write_tokenizer(tmp_path)
    read = Tokenizer.from_dir(tmp_path)
    assert read.specials == written.specials
    assert read.special_id("<|endoftext|>") == 256
    assert read.special_id(AUDIO[-1]) == 256 + len(CONTROLS) + len(PHONEMES) + len(AUDIO) - 1
    assert read.size == 256 + len(CONTROLS) + len(PHONEMES) + len(AUDIO)
    assert read.encode("好", allow_special=read.phonemes) == list("好".encode())


def test_merges(tmp_path: Path) -> None:
    """Byte pairs merge by rank, lowest first, and never across parts of the split pattern."""
    tokenizer = write_tokenizer(tmp_path, {**byte_ranks(), b"ab": 256, b"bc": 257, b"abc": 258, b"c a": 259})
    assert tokenizer.encode("abc abcd") == [258, 32, 258, 100]
    assert tokenizer.encode("bcab") == [257, 256]


@given(st.text(st.characters(exclude_categories=("Cs",))))
def test_any_text_survives(text: str) -> None:
    """Any Unicode text decodes to itself, and no text becomes a special token by itself."""
    ids = BYTES.encode(text)
    assert BYTES.decode(ids) == text
    assert all(i < 256 for i in ids)


def test_only_allowed_specials_count() -> None:
    """A special token in a text counts only if it is allowed, and a speech token never does."""
    text = "<|user|><|X|><|audio_7|>"
    assert BYTES.encode(text, allow_special={"<|X|>"}) == [*b"<|user|>", 257, *b"<|audio_7|>"]
    assert BYTES.encode(text, allow_special={"<|user|>", "<|audio_7|>"}) == [256, *b"<|X|><|audio_7|>"]


def test_lone_surrogate() -> None:
    """Half a surrogate pair is an error, not replaced."""
    with pytest.raises(TextError, match="character 1"):
        BYTES.encode("a\ud800")


@pytest.mark.parametrize("token", ["<|ZH|>", "<|IAN2|>", "<|V5|>", "<|en:ˈO|>", "<|en:b|>"])
def test_phonemes(token: str) -> None:
    """Pinyin and English phones are phonemes."""
    assert is_phoneme(token)


@pytest.mark.parametrize(
    "token", [*CONTROLS, "<|audio_0|>", "<|begin_of_image|>", "<|observation|>", "[gMASK]", "<eop>", "<||>", "X"]
)
def test_no_phonemes(token: str) -> None:
    """Speech, chat and control tokens are not phonemes."""
    assert not is_phoneme(token)


def test_phoneme_set(tmp_path: Path) -> None:
    """A tokenizer's phonemes are its special tokens except speech, chat and control."""
    assert write_tokenizer(tmp_path).phonemes == frozenset(PHONEMES)


def test_specials_without_decoder(tmp_path: Path) -> None:
    """Without added_tokens_decoder, the named special tokens follow the ranks in order."""
    write(tmp_path, byte_ranks(), ())
    names = ["<|endoftext|>", {"content": "<|user|>"}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"additional_special_tokens": names}))
    tokenizer = Tokenizer.from_dir(tmp_path)
    assert tokenizer.specials == {"<|endoftext|>": 256, "<|user|>": 257}


def test_many_speech_tokens() -> None:
    """The official 32,768 speech tokens have ids and cost the encoder nothing."""
    specials = {f"<|audio_{i}|>": 61498 + i for i in range(32768)}
    tokenizer = Tokenizer(byte_ranks(), specials)
    assert tokenizer.special_id("<|audio_32767|>") == 94265
    assert tokenizer.size == 94266


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"IQ== 0\nzzz\n", r":2: .*base64 rank"),
        (b"IQ== x\n", r":1: "),
        (b"", "empty"),
        (b"IQ== 0\n", "single bytes"),
    ],
)
def test_damaged_ranks(tmp_path: Path, content: bytes, message: str) -> None:
    """A damaged rank file is an error with its line and what is expected."""
    write_tokenizer(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        Tokenizer.from_dir(tmp_path)


@pytest.mark.parametrize(
    "config", ["{", "[]", '{"added_tokens_decoder": {"256": {}}}', '{"added_tokens_decoder": {"5": {"content": "x"}}}']
)
def test_damaged_config(tmp_path: Path, config: str) -> None:
    """A tokenizer_config.json that is not a JSON object of ids and tokens is an error, as is an id of a rank."""
    write_tokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(config)
    with pytest.raises(CheckpointError):
        Tokenizer.from_dir(tmp_path)


def test_missing_files(tmp_path: Path) -> None:
    """A folder without a rank file is an error with the file's name."""
    with pytest.raises(CheckpointError, match=r"tokenizer\.model"):
        Tokenizer.from_dir(tmp_path)


def test_unknown_special() -> None:
    """A special token that does not exist is an error with its name."""
    with pytest.raises(CheckpointError, match="begin_of_audio"):
        BYTES.special_id("<|begin_of_audio|>")


def test_write_refuses_doubles(tmp_path: Path) -> None:
    """A special token listed twice is an error before anything is written."""
    with pytest.raises(ValueError, match="twice"):
        write(tmp_path, byte_ranks(), ["<|a|>", "<|a|>"])
    assert not list(tmp_path.iterdir())
