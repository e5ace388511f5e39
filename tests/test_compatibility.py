"""What outlives a process, or crosses to another, has a version: the last release's is read, a later one refused."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from glmtts_client import ClientError, Node, Query, SpeechOptions
from glmtts_client.batch.items import Item
from glmtts_client.batch.output_folder import OutputFolder
from glmtts_client.version import RELEASE as CLIENT_RELEASE

from glmtts.engine.api import EngineInfo
from server import RELEASE
from server.cluster_config import KEYS, ClusterConfig, Key
from server.errors import ApiError
from server.http import continuation
from server.http.speech_socket.messages import parse_message
from server.settings import Settings
from server.voices.store import VoiceStore
from server.voices.stored_voice import DESCRIPTION, NewerVersionError, parse_voice
from tests.helpers.server import ROOT

FAKE = EngineInfo("fake", "fake-1", ("zh", "en"), (24000,), (), "cpu", 1)
TOKEN = "AWI-LD-5EsJNPBu505YMSO7WUkAVi7ICAwFIaS4DAgUALAFGAA"
"""Made before 0.1.0 by the fake engine, after two segments."""
FILE = f"neutral.{'0' * 64}.flac"
VOICE: dict[str, Any] = {
    "name": "anna",
    "language": "en",
    "default_style": "neutral",
    "transcripts": {"neutral": "One."},
    "recordings": {"neutral": {"file": FILE, "language": "en", "consent": "Anna", "created_at": "", "updated_at": ""}},
    "deleted": {"happy": "2026-11-01T08:00:00.000000Z"},
}
"""As voice.json was before it had a version."""
DOCUMENTS: dict[Key, dict[str, Any]] = {
    "default_style": {"emotion": "calm", "speed": 1.25},
    "g2p_replace": {"行长": "<|H|><|ANG2|>", "version": "<|V|>"},
    "limits": {"max_concurrent_requests": 4},
}


def read_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(("release", "project"), [(RELEASE, ROOT), (CLIENT_RELEASE, ROOT / "client")])
def test_the_release_is_that_of_the_project(release: str, project: Path) -> None:
    """What nodes register and clients send is what is installed."""
    match = re.search(r'^version = "(.+)"$', (project / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
    assert match is not None
    assert match[1] == release


def test_a_token_of_the_last_release_is_read() -> None:
    """Its layout is part of what nodes exchange: a stream goes on from an old node to a new one."""
    done = continuation.decode(TOKEN, FAKE)
    assert (done.segments, done.history) == (2, (((72, 105, 46), (5, 300, 70)),))
    assert continuation.encode(done, FAKE) == TOKEN


def test_a_token_of_a_newer_server_has_its_own_error() -> None:
    """So that a client can ask a newer node before it starts over."""
    data = base64.urlsafe_b64decode(TOKEN + "==")
    newer = base64.urlsafe_b64encode(b"\x02" + data[1:]).decode().rstrip("=")
    with pytest.raises(ApiError, match="continuation: expected a token of format 1 or less, got one of format 2") as it:
        continuation.decode(newer, FAKE)
    assert (it.value.status, it.value.code, it.value.field) == (400, "unsupported_version", "continuation")


def test_a_voice_of_the_last_release_is_read(tmp_path: Path) -> None:
    """A description without a version is version 1, and the version is written from then on."""
    voice = parse_voice(json.dumps(VOICE).encode(), tmp_path / "anna")
    assert voice.recordings["neutral"].text == "One."
    assert json.loads(voice.to_json()) == {"version": 1, **VOICE}
    assert parse_voice(voice.to_json(), tmp_path / "anna") == voice


def test_a_voice_of_a_newer_server_stays_as_it_is(tmp_path: Path) -> None:
    """In a shared folder it is not there for an older server, which neither speaks nor overwrites it."""
    folder = tmp_path / "anna"
    folder.mkdir()
    (folder / DESCRIPTION).write_text(json.dumps({"version": 2, **VOICE}))
    (folder / FILE).write_bytes(b"sound")
    store, before = VoiceStore([tmp_path], tmp_path), read_files(folder)
    assert store.all() == []
    assert store.index() == {}
    theirs = parse_voice(json.dumps(VOICE).encode(), Path("anna"))
    changes: tuple[Callable[[], object], ...] = (
        lambda: store.put("anna", "neutral", "Two.", b"other", "en"),
        lambda: store.merge(theirs, {FILE: b"sound"}),
        lambda: store.delete("anna"),
    )
    codes = []
    for change in changes:
        with pytest.raises(ApiError) as caught:
            change()
        codes.append(caught.value.code)
    assert codes == ["newer_voice", "newer_voice", "unknown_voice"]
    store.put("berta", "neutral", "One.", b"sound", "en")
    assert read_files(folder) == before
    with pytest.raises(NewerVersionError, match="expected version 1 or less, got 2"):
        parse_voice((folder / DESCRIPTION).read_bytes(), folder)


@pytest.mark.parametrize("key", KEYS)
def test_shared_configuration_with_and_without_a_version(key: Key) -> None:
    """Without one a document is version 1; one of a later version is refused, and the last stays in force."""
    words: list[Any] = []
    config = ClusterConfig(Settings())
    config.set_replacements = words.append
    old = config.apply(key, json.dumps(DOCUMENTS[key]).encode())
    assert config.apply(key, json.dumps({**DOCUMENTS[key], "version": 1}).encode()) == (
        old if key != "g2p_replace" else {"words": 1}
    )
    with pytest.raises(ValueError, match="expected 1"):
        config.apply(key, json.dumps({**DOCUMENTS[key], "version": 2}).encode())
    if key == "g2p_replace":
        assert words == [DOCUMENTS[key], {"行长": "<|H|><|ANG2|>"}]
    else:
        assert vars(config.style if key == "default_style" else config.limits) == old


def test_messages_of_a_socket_with_and_without_a_version() -> None:
    """Clients need not name it."""
    assert parse_message('{"type": "session.config", "version": 1, "speed": 2}') == ("session.config", {"speed": 2})
    with pytest.raises(ApiError, match="version: expected 1, got 2") as caught:
        parse_message('{"type": "session.config", "version": 2}')
    assert (caught.value.code, caught.value.field) == ("unsupported_version", "version")


@pytest.mark.parametrize(("versions", "used"), [(None, True), ("1", True), ("1,2", True), ("2", False)])
def test_a_client_uses_nodes_with_its_api(versions: str | None, used: bool) -> None:
    """A node may serve several versions; one that does not say serves the first."""
    node = Node("a", "http://a", {} if versions is None else {"api_version": versions})
    assert Query().matches(node) is used


def test_a_batch_goes_on_after_an_upgrade(tmp_path: Path) -> None:
    """Results without a version count; those of a newer client are left as they are."""
    item, results = Item("a", "Hello.", SpeechOptions(), "d1"), tmp_path / "results.jsonl"
    results.write_text('{"id": "a", "file": "a.wav", "digest": "d1", "error": null}\n')
    (tmp_path / "a.wav").write_bytes(b"sound")
    with OutputFolder(tmp_path) as folder:
        assert folder.is_finished(item)
        assert folder.record_failure("b", "gone")["version"] == 1
    with results.open("a") as file:
        file.write('{"version": 2, "id": "c", "error": null}\n')
    before = read_files(tmp_path)
    with pytest.raises(ClientError, match=r"results.jsonl: version: expected 1, got 2"), OutputFolder(tmp_path):
        pass
    assert read_files(tmp_path) == before
