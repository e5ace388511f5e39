"""Storing and deleting voices as vllm-omni's clients do, over real HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.helpers.server import Server, recording, store_voice

FORM = {"name": "carl", "consent": "Carl, by letter", "ref_text": "Hello.", "speaker_description": "warm"}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("voices")
    store_voice(folder, "default", {"neutral": "This is me."})
    with Server(voices=folder) as server:
        yield server.url


def upload(url: str, form: dict[str, str], audio: bytes | None = None) -> requests.Response:
    files = {"audio_sample": ("me.wav", recording() if audio is None else audio, "audio/wav")}
    return requests.post(f"{url}/v1/audio/voices", data=form, files=files, timeout=60)


def test_a_voice_comes_and_goes(url: str) -> None:
    """It speaks at once, is listed with its consent, can be replaced, and is gone after its deletion."""
    for _ in range(2):
        answer = upload(url, FORM)
        assert answer.status_code == 200, answer.text
    assert answer.json()["success"] is True
    voice: dict[str, Any] = answer.json()["voice"]
    assert (voice["name"], voice["consent"], voice["ref_text"]) == ("carl", "Carl, by letter", "Hello.")
    assert voice["created_at"] > 1_600_000_000
    assert voice["file_size"] > 1000
    listed = requests.get(f"{url}/v1/audio/voices?legacy=true", timeout=10).json()
    assert listed == ["carl", "default"]
    said = requests.post(f"{url}/v1/audio/speech", json={"input": "Hi.", "voice": "carl"}, timeout=60)
    assert said.status_code == 200
    gone = requests.delete(f"{url}/v1/audio/voices/carl", timeout=10)
    assert (gone.status_code, gone.json()["success"]) == (200, True)
    again = requests.delete(f"{url}/v1/audio/voices/carl", timeout=10)
    assert (again.status_code, again.json()["error"]["code"]) == (404, "unknown_voice")


@pytest.mark.parametrize(
    ("change", "audio", "param"),
    [
        ({"name": "a/b"}, None, "name"),
        ({"name": None}, None, "name"),
        ({"consent": None}, None, "consent"),
        ({}, recording(0.2), "audio_sample"),
        ({}, b"no audio", "audio_sample"),
    ],
)
def test_an_error_names_the_clients_own_field(
    url: str, change: dict[str, Any], audio: bytes | None, param: str
) -> None:
    """And nothing is stored."""
    form = {name: value for name, value in {**FORM, **change}.items() if value is not None}
    answer = upload(url, form, audio)
    body = answer.json()["error"]
    assert (answer.status_code // 100, body["type"], body["param"]) == (4, "invalid_request_error", param)
    assert body["message"].startswith(f"{param}: ")
    assert requests.get(f"{url}/v1/audio/voices?legacy=1", timeout=10).json() == ["default"]


def test_only_forms_are_taken(url: str) -> None:
    """JSON is another media type."""
    assert requests.post(f"{url}/v1/audio/voices", json=FORM, timeout=10).status_code == 415
