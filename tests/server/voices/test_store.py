"""Stored voices on disk."""

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from glmtts.errors import UnsupportedError
from server.errors import ApiError
from server.settings import Settings
from server.voices.files import exclusive
from server.voices.store import MAX_STYLES, VoiceStore
from server.voices.stored_voice import parse_time, transcript_language
from server.wsgi.app import make_store
from tests.helpers.server import store_voice


def test_a_voice_is_found_by_name_and_style(tmp_path: Path) -> None:
    """A style selects the recording and its text; the default is the default style."""
    store_voice(tmp_path, "anna", {"neutral": "One.", "happy": "Two!"})
    voice = VoiceStore([tmp_path]).get("anna")
    assert voice.reference("happy")[:3] == ((tmp_path / "anna" / "happy.flac").read_bytes(), "Two!", "happy")
    assert voice.reference(None).style == "neutral"


def test_an_explicit_style_must_exist(tmp_path: Path) -> None:
    """The error lists the styles that the voice has."""
    store_voice(tmp_path, "anna", {"neutral": "One.", "happy": "Two!"})
    with pytest.raises(UnsupportedError, match="happy, neutral"):
        VoiceStore([tmp_path]).get("anna").reference("sad")


def test_a_default_style_without_recording_falls_back_to_the_first(tmp_path: Path) -> None:
    """The voice still works without its default recording."""
    store_voice(tmp_path, "anna", {"neutral": "One.", "happy": "Two!"})
    (tmp_path / "anna" / "neutral.flac").unlink()
    assert VoiceStore([tmp_path]).get("anna").reference(None).style == "happy"


def test_an_unknown_voice_is_a_404_that_lists_the_voices(tmp_path: Path) -> None:
    """A voice with an invalid description does not exist."""
    store_voice(tmp_path, "anna", {"neutral": "One."})
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "voice.json").write_text("{")
    with pytest.raises(ApiError, match=r"expected a stored voice \(anna\)") as caught:
        VoiceStore([tmp_path]).get("broken")
    assert caught.value.status == 404


def test_a_preferred_style_is_optional(tmp_path: Path) -> None:
    """The preferred style is used if the voice has it, else the voice's default style."""
    store_voice(tmp_path, "anna", {"neutral": "One.", "happy": "Two!"})
    store = VoiceStore([tmp_path])
    assert store.reference("anna", None, "happy").style == "happy"
    assert store.reference("anna", "neutral", "happy").style == "neutral"
    assert store.reference("anna", None, "calm").style == "neutral"


@pytest.fixture
def store(tmp_path: Path) -> VoiceStore:
    """A writable folder, and behind it one with the read-only voice `anna`."""
    store_voice(tmp_path / "fixed", "anna", {"neutral": "One."})
    (tmp_path / "own").mkdir()
    return VoiceStore([tmp_path / "own", tmp_path / "fixed"], tmp_path / "own", max_voices=2)


def refusal(store: VoiceStore, *arguments: str, flac: bytes = b"flac") -> tuple[int, str]:
    """Status and code of a failed put or, with one or two arguments, of a failed delete."""
    putting = len(arguments) > 2
    with pytest.raises(ApiError) as caught:
        store.put(*arguments, flac, "en") if putting else store.delete(*arguments)
    return caught.value.status, caught.value.code


def files_of(tmp_path: Path) -> list[str]:
    """Names of all files in the writable folder but the lock's."""
    return sorted(path.name for path in (tmp_path / "own").rglob("*") if path.is_file() and path.name != ".lock")


def test_styles_are_added_replaced_and_deleted(store: VoiceStore, tmp_path: Path) -> None:
    """The first style is the default; deleting the last one deletes the voice and all its files."""
    assert store.put("bob", "calm", "Slowly.", b"one", "en")
    assert store.put("bob", "happy", "Oh!", b"two", "en")
    assert not store.put("bob", "calm", "Slower.", b"three", "en")
    bob = store.get("bob")
    assert (bob.transcripts, bob.default_style) == ({"happy": "Oh!", "calm": "Slower."}, "calm")
    assert store.reference("bob", None)[:3] == (b"three", "Slower.", "calm")
    files = sorted(path.name.split(".")[0] for path in (tmp_path / "own" / "bob").iterdir())
    assert files == ["calm", "happy", "voice"], "the replaced recording is gone"
    store.delete("bob", "calm")
    assert store.reference("bob", None)[:3] == (b"two", "Oh!", "happy")
    assert store.get("bob").default_style == "happy"
    store.delete("bob", "happy")
    assert files_of(tmp_path) == ["voice.json"]
    assert refusal(store, "bob") == (404, "unknown_voice")
    assert store.put("bob", "sad", "Oh.", b"four", "en")
    assert store.get("bob").default_style == "sad"


def test_a_voice_is_deleted_with_all_its_styles(store: VoiceStore, tmp_path: Path) -> None:
    """Without a style everything is deleted; an unknown style is a 404 and deletes nothing."""
    store.put("bob", "calm", "Slowly.", b"one", "en")
    store.put("bob", "happy", "Oh!", b"two", "en")
    assert refusal(store, "bob", "sad") == (404, "unknown_style")
    store.delete("bob")
    assert files_of(tmp_path) == ["voice.json"]
    assert "Slowly" not in (tmp_path / "own" / "bob" / "voice.json").read_text(), "of its content nothing stays"


def test_the_checkpoints_voices_are_read_only(store: VoiceStore) -> None:
    """They can be neither changed nor deleted."""
    assert refusal(store, "anna", "sad", "No.") == (403, "voice_read_only")
    assert refusal(store, "anna") == (403, "voice_read_only")


def test_the_operators_voice_overrides_the_checkpoints(store: VoiceStore, tmp_path: Path) -> None:
    """Of two voices with one name the earlier folder's wins; when that is deleted the other is there again."""
    store_voice(tmp_path / "own", "anna", {"happy": "Mine."})
    assert [voice.transcripts for voice in store.all()] == [{"happy": "Mine."}]
    store.delete("anna")
    assert store.reference("anna", None).text == "One."


def test_without_a_writable_folder_no_voices_are_stored(tmp_path: Path) -> None:
    """The error names the missing setting."""
    store_voice(tmp_path, "anna", {"neutral": "One."})
    store = VoiceStore([tmp_path])
    assert refusal(store, "bob", "calm", "x") == (403, "voices_read_only")
    assert refusal(store, "anna") == (403, "voices_read_only")


def test_voices_and_styles_are_bounded(store: VoiceStore) -> None:
    """Neither the number of voices nor that of styles can fill the disk; replacing always works."""
    for name in ("one", "two"):
        store.put(name, "calm", "x", b"x", "en")
    assert refusal(store, "three", "calm", "x") == (409, "too_many_voices")
    for number in range(MAX_STYLES - 1):
        store.put("one", f"s{number}", "x", b"x", "en")
    assert refusal(store, "one", "more", "x") == (409, "too_many_styles")
    assert not store.put("one", "calm", "y", b"y", "en")


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    """A 507 with the reason of the system, not a 500."""
    (tmp_path / "own").write_text("no folder")
    store = VoiceStore([tmp_path / "own"], tmp_path / "own")
    assert refusal(store, "bob", "calm", "x") == (507, "storage")


def test_bytes_are_bounded(tmp_path: Path) -> None:
    """A recording that exceeds the folder's limit is refused; one that takes the place of another may fit."""
    store = VoiceStore([tmp_path], tmp_path, max_bytes=5000)
    store.put("bob", "calm", "x", bytes(4000), "en")
    assert refusal(store, "bob", "happy", "x", flac=bytes(1000)) == (409, "too_many_bytes")
    assert refusal(store, "eve", "calm", "x", flac=bytes(1000)) == (409, "too_many_bytes")
    assert not store.put("bob", "calm", "x", bytes(range(100)) * 40, "en")


def test_who_agreed_and_when_is_kept(tmp_path: Path) -> None:
    """A replaced recording has its own consent and time; the style keeps the time when it was first enrolled."""
    store = VoiceStore([tmp_path], tmp_path)
    store.put("bob", "calm", "x", b"one", "en", consent="Bob, by letter")
    first = store.get("bob").recordings["calm"]
    assert first.consent == "Bob, by letter"
    assert first.created_at == first.updated_at
    assert abs(datetime.now(timezone.utc) - parse_time(first.created_at)) < timedelta(minutes=5)
    store.put("bob", "calm", "x", b"two", "en")
    second = VoiceStore([tmp_path]).get("bob").recordings["calm"]
    assert (second.consent, second.created_at) == ("", first.created_at)
    assert second.updated_at > first.updated_at


def test_a_voice_made_by_hand_can_be_changed(tmp_path: Path) -> None:
    """Its other recordings stay, and a replaced or deleted one leaves no file."""
    store_voice(tmp_path / "own", "anna", {"neutral": "One.", "happy": "Two!", "sad": "Three."})
    store = VoiceStore([tmp_path / "own"], tmp_path / "own")
    assert not store.put("anna", "happy", "New.", b"new", "en")
    store.delete("anna", "sad")
    assert store.get("anna").transcripts == {"neutral": "One.", "happy": "New."}
    assert store.reference("anna", "happy").audio == b"new"
    assert sorted(name.split(".")[0] for name in files_of(tmp_path)) == ["happy", "neutral", "voice"]


def test_an_unknown_name_costs_little(tmp_path: Path) -> None:
    """The error names a few of many voices, and nobody waits for a writer."""
    for number in range(30):
        store_voice(tmp_path, f"voice{number:03}", {"neutral": "One."})
    store = VoiceStore([tmp_path], tmp_path)
    with exclusive(tmp_path), pytest.raises(ApiError) as caught:
        store.reference("eve", None)
    assert str(caught.value).count("voice0") == 20
    with exclusive(tmp_path):
        assert len(store.all()) == 30
        assert store.reference("voice001", None).text == "One."


def test_names_with_paths_find_nothing(store: VoiceStore, tmp_path: Path) -> None:
    """A style or a name that contains a path is not a voice."""
    store_voice(tmp_path / "outside", "eve", {"neutral": "Secret."})
    described = {"language": "en", "transcripts": {"../../outside/eve/neutral": "x"}, "default_style": "x"}
    (tmp_path / "own" / "bob").mkdir()
    (tmp_path / "own" / "bob" / "voice.json").write_text(json.dumps(described))
    for name in ("bob", "../outside/eve", "..", "", "eve\n", "."):
        with pytest.raises(ApiError, match=r"expected a stored voice \(anna\)"):
            store.get(name)


def test_a_transcript_without_letters_is_read_in_the_voices_language() -> None:
    """Any other in its own: the voice may speak another language than it was recorded in."""
    assert transcript_language("1, 2, 3.", "zh") == "zh"
    assert transcript_language("1, 2, 3.", "en") == "en"
    assert transcript_language("1, 2, 3.", "a language of a voice made by hand") is None
    for text in ("She is 42.", "她42岁。", "", " "):
        assert transcript_language(text, "zh") is transcript_language(text, "en") is None


def test_aliases_are_those_of_the_setting_then_those_of_the_folders(tmp_path: Path) -> None:
    """In any case of letters; one that stands for nothing, and a file that is damaged, are as good as none."""
    store_voice(tmp_path / "own", "anna", {"neutral": "One."})
    store_voice(tmp_path / "fixed", "bert", {"neutral": "Two."})
    (tmp_path / "fixed" / "aliases.json").write_text('{"Old": "bert", "gone": "nobody", "number": 5}', "utf-8")
    store = VoiceStore([tmp_path / "own", tmp_path / "fixed"], aliases={"new": "anna"})
    assert [store.get(name).name for name in ("old", "OLD", "New", "anna")] == ["bert", "bert", "anna", "anna"]
    assert store.reference("old", None).voice == "bert"
    for name in ("gone", "number", "nobody"):
        with pytest.raises(ApiError, match=r"\(anna, bert\)"):
            store.get(name)
    for damaged in ('["old"]', "{"):
        (tmp_path / "own" / "aliases.json").write_text(damaged, "utf-8")
        assert store.get("old").name == "bert"


def test_built_in_voices_are_for_a_checkpoint_that_brings_none(tmp_path: Path) -> None:
    """Those that a server stored beside it don't count, and a setting leaves them out."""
    builtin = ["default", "hibari", "michael", "mingyue", "songhe"]

    def names(folder: Path | None, **settings: Any) -> list[str]:
        return [voice.name for voice in make_store(Settings(**settings), folder).all()]

    assert names(tmp_path / "none") == builtin
    own = make_store(Settings(write_checkpoint_voices=True), tmp_path / "none")
    own.put("bob", "calm", "Slowly.", b"flac", "en")
    assert names(tmp_path / "none") == sorted([*builtin, "bob"])
    assert refusal(own, "hibari", "calm", "Slowly.") == (403, "voice_read_only")
    assert names(tmp_path / "none", builtin_voices=False) == ["bob"]
    assert names(None) == []
    store_voice(tmp_path / "some", "anna", {"neutral": "One."})
    assert names(tmp_path / "some") == ["anna"]
    assert make_store(Settings(), tmp_path / "none").get("yunxi").name == "songhe"
