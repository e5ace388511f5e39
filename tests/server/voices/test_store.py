"""Stored voices on disk."""

import json
from pathlib import Path

import pytest

from glmtts.errors import UnsupportedError
from server.errors import ApiError
from server.voices.store import MAX_STYLES, VoiceStore
from tests.helpers.server import store_voice


def test_a_voice_is_found_by_name_and_style(tmp_path: Path) -> None:
    """A style picks the recording and its transcript; without one the default style does."""
    store_voice(tmp_path, "anna", {"neutral": "One.", "happy": "Two!"})
    voice = VoiceStore([tmp_path]).get("anna")
    assert voice.reference("happy") == ((tmp_path / "anna" / "happy.flac").read_bytes(), "Two!", "happy")
    assert voice.reference(None).style == "neutral"


def test_an_explicit_style_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """The refusal names the styles that the voice has."""
    store_voice(tmp_path, "anna", {"neutral": "One.", "happy": "Two!"})
    with pytest.raises(UnsupportedError, match="happy, neutral"):
        VoiceStore([tmp_path]).get("anna").reference("sad")


def test_a_default_style_without_recording_falls_back_to_the_first(tmp_path: Path) -> None:
    """A lost default recording does not silence the voice."""
    store_voice(tmp_path, "anna", {"neutral": "One.", "happy": "Two!"})
    (tmp_path / "anna" / "neutral.flac").unlink()
    assert VoiceStore([tmp_path]).get("anna").reference(None).style == "happy"


def test_an_unknown_voice_is_a_404_that_names_those_there_are(tmp_path: Path) -> None:
    """A damaged description counts as no voice."""
    store_voice(tmp_path, "anna", {"neutral": "One."})
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "voice.json").write_text("{")
    with pytest.raises(ApiError, match=r"expected a stored voice \(anna\)") as caught:
        VoiceStore([tmp_path]).get("broken")
    assert caught.value.status == 404


def test_a_preferred_style_gives_way(tmp_path: Path) -> None:
    """What the configuration prefers is taken where the voice has it; else the voice's own default."""
    store_voice(tmp_path, "anna", {"neutral": "One.", "happy": "Two!"})
    store = VoiceStore([tmp_path])
    assert store.reference("anna", None, "happy").style == "happy"
    assert store.reference("anna", "neutral", "happy").style == "neutral"
    assert store.reference("anna", None, "calm").style == "neutral"


@pytest.fixture
def store(tmp_path: Path) -> VoiceStore:
    """A folder that takes voices before one that holds the fixed voice `anna`."""
    store_voice(tmp_path / "fixed", "anna", {"neutral": "One."})
    (tmp_path / "own").mkdir()
    return VoiceStore([tmp_path / "own", tmp_path / "fixed"], tmp_path / "own", limit=2)


def refusal(store: VoiceStore, *arguments: str) -> tuple[int, str]:
    """Status and code of a put or, with one or two arguments, of a removal."""
    putting = len(arguments) > 2
    with pytest.raises(ApiError) as caught:
        store.put(*arguments, b"flac", "en") if putting else store.delete(*arguments)
    return caught.value.status, caught.value.code


def test_styles_are_added_replaced_and_removed(store: VoiceStore, tmp_path: Path) -> None:
    """The first style is the default; with the last one goes the voice, and nothing stays on disk."""
    assert store.put("bob", "calm", "Slowly.", b"one", "en")
    assert store.put("bob", "happy", "Oh!", b"two", "en")
    assert not store.put("bob", "calm", "Slower.", b"three", "en")
    bob = store.get("bob")
    assert (bob.transcripts, bob.default_style) == ({"happy": "Oh!", "calm": "Slower."}, "calm")
    assert store.reference("bob", None) == (b"three", "Slower.", "calm")
    assert sorted(path.name for path in (tmp_path / "own" / "bob").iterdir()) == [
        "calm.flac",
        "happy.flac",
        "voice.json",
    ]
    store.delete("bob", "calm")
    assert store.reference("bob", None) == (b"two", "Oh!", "happy")
    assert store.get("bob").default_style == "happy"
    store.delete("bob", "happy")
    assert list((tmp_path / "own").iterdir()) == []
    assert refusal(store, "bob") == (404, "unknown_voice")


def test_a_voice_is_removed_with_all_its_styles(store: VoiceStore, tmp_path: Path) -> None:
    """Removing without a style takes everything; an unknown style is a 404 and takes nothing."""
    store.put("bob", "calm", "Slowly.", b"one", "en")
    store.put("bob", "happy", "Oh!", b"two", "en")
    assert refusal(store, "bob", "sad") == (404, "unknown_style")
    store.delete("bob")
    assert list((tmp_path / "own").iterdir()) == []


def test_the_checkpoints_voices_stay(store: VoiceStore) -> None:
    """They are neither changed nor removed; a voice of the operator's folder comes before one of the same name."""
    assert refusal(store, "anna", "sad", "No.") == (403, "voice_read_only")
    assert refusal(store, "anna") == (403, "voice_read_only")


def test_the_operators_voice_comes_before_the_checkpoints(store: VoiceStore, tmp_path: Path) -> None:
    """Of two voices of one name that of the earlier folder counts; when it goes the other is there again."""
    store_voice(tmp_path / "own", "anna", {"happy": "Mine."})
    assert [voice.transcripts for voice in store.all()] == [{"happy": "Mine."}]
    store.delete("anna")
    assert store.reference("anna", None).text == "One."


def test_without_a_folder_for_them_no_voices_are_taken(tmp_path: Path) -> None:
    """The refusal names the setting that is missing."""
    store_voice(tmp_path, "anna", {"neutral": "One."})
    store = VoiceStore([tmp_path])
    assert refusal(store, "bob", "calm", "x") == (403, "voices_read_only")
    assert refusal(store, "anna") == (403, "voices_read_only")


def test_voices_and_styles_are_bounded(store: VoiceStore) -> None:
    """Neither many voices nor many styles of one fill the disk; replacing is always possible."""
    for name in ("one", "two"):
        store.put(name, "calm", "x", b"x", "en")
    assert refusal(store, "three", "calm", "x") == (409, "too_many_voices")
    for number in range(MAX_STYLES - 1):
        store.put("one", f"s{number}", "x", b"x", "en")
    assert refusal(store, "one", "more", "x") == (409, "too_many_styles")
    assert not store.put("one", "calm", "y", b"y", "en")


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    """A 507 with the system's reason, not a fault of ours."""
    (tmp_path / "own").write_text("no folder")
    store = VoiceStore([tmp_path / "own"], tmp_path / "own")
    assert refusal(store, "bob", "calm", "x") == (507, "storage")


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_a_crash_never_leaves_a_recording_with_anothers_transcript(
    store: VoiceStore, monkeypatch: pytest.MonkeyPatch, stage: int
) -> None:
    """Wherever the replacing of a style stops, what is found is the old style, none, or the new one."""
    store.put("bob", "calm", "Old.", b"old", "en")
    store.put("bob", "happy", "Oh!", b"oh", "en")
    real, writes = Path.replace, []

    def crash(path: Path, target: Path) -> Path:
        writes.append(target)
        if len(writes) > stage:
            raise KeyboardInterrupt
        return real(path, target)

    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        store.put("bob", "calm", "New.", b"new", "en")
    assert store.reference("bob", None) in [(b"old", "Old.", "calm"), (b"oh", "Oh!", "happy")]
    assert not [path for path in store.get("bob").path.iterdir() if path.name.startswith(".")]


def test_names_that_lead_elsewhere_find_nothing(store: VoiceStore, tmp_path: Path) -> None:
    """A style or a name with a path in it is no voice, whoever wrote it."""
    store_voice(tmp_path / "outside", "eve", {"neutral": "Secret."})
    described = {"language": "en", "transcripts": {"../../outside/eve/neutral": "x"}, "default_style": "x"}
    (tmp_path / "own" / "bob").mkdir()
    (tmp_path / "own" / "bob" / "voice.json").write_text(json.dumps(described))
    for name in ("bob", "../outside/eve", "..", "", "eve\n", "."):
        with pytest.raises(ApiError, match=r"expected a stored voice \(anna\)"):
            store.get(name)
