"""What a folder of voices holds is known without reading all of it again."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from server.voices import inventory
from server.voices.folder import FEATURES_KEPT
from server.voices.inventory import Inventory, index_digest, shared_voices
from server.voices.store import VoiceStore
from server.voices.stored_voice import features_file
from tests.helpers.server import store_voice


def settle(folder: Path, seconds: float = 60.0) -> None:
    """Sets the times of all files and directories back."""
    then = time.time() - seconds
    for path in [*folder.rglob("*"), folder]:
        os.utime(path, (then, then))


def test_only_what_has_changed_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And every change is seen: of a description in place, of a file, of a directory."""
    store = VoiceStore([tmp_path], tmp_path)
    for name in ("ann", "bob", "eve"):
        store.put(name, "calm", "Hi.", name.encode(), "en")
    settle(tmp_path)
    read: list[str] = []
    real = inventory.read_voice
    monkeypatch.setattr(inventory, "read_voice", lambda path: read.append(path.name) or real(path))
    listed = Inventory(tmp_path)
    first = listed.read()
    assert (sorted(read), listed.read()) == (["ann", "bob", "eve"], first)
    assert len(read) == 3

    store.put("bob", "calm", "Ho.", b"bob", "en")
    store.delete("eve")
    read.clear()
    second = listed.read()
    assert sorted(read) == ["bob", "eve"]
    assert first["ann"] == second["ann"]
    assert first["bob"].digest != second["bob"].digest
    assert second["eve"].deleted_at
    assert set(shared_voices(second)) == {"ann", "bob", "eve"}, "others must hear of the deletion"

    settle(tmp_path)
    listed.read()
    text = tmp_path / "ann" / "voice.json"
    text.write_text(text.read_text().replace("Hi.", "Hm."))
    assert listed.read()["ann"].digest != first["ann"].digest
    (tmp_path / "bob" / "voice.json").unlink()
    assert set(listed.read()) == {"ann", "eve"}


def test_what_is_made_by_hand_is_counted_but_not_shared(tmp_path: Path) -> None:
    """Its bytes count for the limit."""
    store_voice(tmp_path, "anna", {"neutral": "One."})
    entries = Inventory(tmp_path).read()
    assert shared_voices(entries) == {}
    assert entries["anna"].size == sum(file.stat().st_size for file in (tmp_path / "anna").iterdir())
    assert Inventory(tmp_path / "nowhere").read() == {}


def test_old_deletions_and_features_are_removed_with_the_next_enrolment(tmp_path: Path) -> None:
    """No more deleted voices are remembered than there may be voices, the latest of them."""
    store = VoiceStore([tmp_path], tmp_path, max_voices=2)
    for name in ("one", "two", "three"):
        store.put(name, "calm", "Hi.", name.encode(), "en")
        store.delete(name)
    store.put("bob", "calm", "Hi.", b"bob", "en")
    assert sorted(path.name for path in tmp_path.glob("*")) == [".lock", "bob", "three", "two"]

    voice = store.get("bob").recordings["calm"]
    new, old = (features_file(voice.digest, fingerprint) for fingerprint in ("aa", "bb"))
    for file in (new, old):
        store.write_features("bob", file, b"features")
        assert store.read_features("bob", file) == b"features"
    settle(tmp_path)
    then = time.time() - FEATURES_KEPT - 60
    os.utime(tmp_path / "bob" / old, (then, then))
    store.put("eve", "calm", "Hi.", b"eve", "en")
    assert [path.name for path in (tmp_path / "bob").glob("*.safetensors")] == [new]
    store.write_features("bob", features_file("0" * 64, "aa"), b"of no recording")
    store.write_features("nobody", new, b"of no voice")
    assert [path.name for path in tmp_path.rglob("*.safetensors")] == [new]


def test_equal_indices_have_equal_hashes() -> None:
    """Whatever the order."""
    assert index_digest({"a": "1", "b": "2"}) == index_digest({"b": "2", "a": "1"}) != index_digest({"a": "1"})
