"""Voices by their earlier names, in every route."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from server.voices.builtin_voices import BUILTIN_VOICES
from tests.helpers.app import MakeClient
from tests.helpers.server import recording

OLD = {"xiaoxiao": "mingyue", "yunxi": "songhe"}


@pytest.fixture
def app(client: MakeClient, tmp_path: Path) -> FlaskClient:
    shutil.copytree(BUILTIN_VOICES, tmp_path / "voices", dirs_exist_ok=True)
    return client(voice_aliases="Narrator=songhe,alloy=mingyue")


def test_old_names_speak_as_the_renamed_voices(app: FlaskClient) -> None:
    """Whole, streamed, or by OpenAI's API; records have the new name. Aliases of the setting work everywhere, too."""
    for old, new in (*OLD.items(), ("narrator", "songhe"), ("Alloy", "mingyue")):
        for path, body in (
            ("/tts", {"text": "你好。", "seed": 1}),
            ("/tts/stream", {"text": "你好。", "seed": 1}),
            ("/v1/audio/speech", {"input": "你好。", "seed": 1, "response_format": "wav"}),
        ):
            answers = [app.post(path, json={**body, "voice": name}) for name in (old, new)]
            assert [answer.status_code for answer in answers] == [200, 200]
            assert answers[0].data == answers[1].data
            record = app.get(f"/requests/{answers[0].headers['X-Request-Id']}").json
            assert record["voice"] == new
        assert app.get(f"/voices/{old}").json == app.get(f"/voices/{new}").json
        segments = app.post("/segments", json={"text": "10:00", "voice": old})
        assert segments.json == app.post("/segments", json={"text": "10:00", "voice": new}).json


def test_lists_have_the_new_names_alone(app: FlaskClient) -> None:
    """Errors, too."""
    names = ["default", "hibari", "michael", "mingyue", "songhe"]
    assert [voice["name"] for voice in app.get("/voices").json["voices"]] == names
    assert app.get("/info").json["voices"] == names
    assert app.get("/v1/audio/voices?legacy=true").json == names
    assert "(default, hibari, michael, mingyue, songhe)" in app.get("/voices/nobody").json["error"]["message"]


def test_a_voice_is_stored_and_deleted_by_its_own_name(app: FlaskClient) -> None:
    """A voice of an alias's name hides the alias, and deleting it twice does not delete what the alias stands for."""
    encoded = base64.b64encode(recording()).decode()
    assert app.post("/voices/xiaoxiao", json={"reference_audio": encoded}).status_code == 201
    assert app.get("/voices/xiaoxiao").json["name"] == "xiaoxiao"
    assert [app.delete("/voices/xiaoxiao").status_code for _ in range(2)] == [204, 404]
    assert app.get("/voices/xiaoxiao").json["name"] == "mingyue"
