"""Names of voices: stored ones, aliases, and OpenAI's."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.errors import ApiError
from server.http.openai.voices import OPENAI_VOICES, choose_voice, style_in
from server.voices.aliases import parse_aliases
from server.voices.store import VoiceStore
from tests.helpers.server import store_voice


@pytest.fixture
def store(tmp_path: Path) -> VoiceStore:
    for name, language in (("bai", "zh"), ("carl", "en"), ("dora", "en"), ("nova", "zh")):
        store_voice(tmp_path, name, {"neutral": "Hello.", "Happy": "Hello!"}, language=language)
    return VoiceStore([tmp_path])


def test_a_stored_voice_wins_over_what_its_name_stands_for(store: VoiceStore, tmp_path: Path) -> None:
    """Then an alias, then OpenAI's names; aliases and those in any case."""
    store = VoiceStore([tmp_path], aliases=parse_aliases("Nova=carl,alloy=dora,Tom Hanks=bai,gone=nobody"))
    assert choose_voice(store, "nova", "Hello.").name == "nova"
    assert choose_voice(store, "NOVA", "Hello.").name == "carl"
    assert choose_voice(store, "alloy", "你好").name == "dora"
    assert choose_voice(store, "tom hanks", "Hello.").name == "bai"
    for name in ("gone", "nobody", "../bai", "", "a" * 500):
        with pytest.raises(ApiError, match=r"\(bai, carl, dora, nova\)") as error:
            choose_voice(store, name, "Hello.")
        assert (error.value.status, error.value.field) == (400, "voice")
        assert len(str(error.value)) < 300


def test_names_of_openai_are_spread_over_the_voices_of_the_language(store: VoiceStore) -> None:
    """Each name is always the same voice; every voice of the language is used, none of another."""
    names = [name for name in OPENAI_VOICES if name != "nova"]
    for text, expected in (
        ("Hello.", {"carl", "dora"}),
        ("你好", {"bai", "nova"}),
        ("10:00", {"bai", "carl", "dora", "nova"}),
    ):
        chosen = [choose_voice(store, name, text).name for name in names]
        assert set(chosen) == expected
        assert chosen == [choose_voice(store, name, text).name for name in names]


def test_without_a_voice_of_the_language_any_will_do(tmp_path: Path) -> None:
    """A foreign accent is better than an error; without any voice there is one."""
    with pytest.raises(ApiError, match=r"\(none\)"):
        choose_voice(VoiceStore([tmp_path]), "alloy", "Hello.")
    store_voice(tmp_path, "bai", {"neutral": "你好"}, language="zh")
    assert choose_voice(VoiceStore([tmp_path]), "alloy", "Hello.").name == "bai"


def test_the_style_in_instructions_is_a_whole_word(store: VoiceStore) -> None:
    """In any case."""
    voice = store.get("carl")
    assert style_in("Be HAPPY, not neutral.", voice) == "Happy"
    assert style_in("Be unhappy", voice) is None
    assert style_in("", voice) is None
