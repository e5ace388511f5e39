"""Storing voices over real HTTP."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import soundfile

from tests.helpers.recordings import BY_FFMPEG, needs_ffmpeg
from tests.helpers.recordings import recording as encode_recording
from tests.helpers.server import Server, recording, store_voice

TEXT = {"text": "Hello.", "format": "pcm", "seed": 1}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("voices")
    store_voice(folder, "default", {"neutral": "This is me."})
    return folder


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[Server]:
    with Server(voices=home) as server:
        yield server


@needs_ffmpeg
def test_a_browsers_recording_becomes_a_voice(server: Server, url: str, home: Path, tmp_path: Path) -> None:
    """WebM as a stored voice, which is stored as FLAC, and as the recording of a request."""
    webm = encode_recording(BY_FFMPEG["webm-opus"], tmp_path)
    files = {"reference_audio": ("blob", webm, "audio/webm;codecs=opus")}
    assert requests.post(url, files=files, timeout=30).status_code == 201
    assert soundfile.info(stored(home, "bob", "neutral")).format == "FLAC"
    answer = requests.post(server.url + "/tts", data=TEXT, files=files, timeout=30)
    assert answer.status_code == 200, answer.text


@pytest.fixture
def url(server: Server) -> Iterator[str]:
    """The URL of the voice bob, which is deleted after the test."""
    url = server.url + "/voices/bob"
    yield url
    requests.delete(url, timeout=10)


def encoded(audio: bytes) -> str:
    return base64.b64encode(audio).decode()


def stored(home: Path, name: str, style: str) -> Path:
    """The only recording of a style."""
    [file] = (home / name).glob(f"{style}.*")
    return file


def error(answer: requests.Response) -> tuple[int, str, str | None]:
    body = answer.json()["error"]
    return answer.status_code, body["code"], body["field"]


def test_an_upload_becomes_a_usable_voice(server: Server, url: str, home: Path) -> None:
    """As a form, then a second style as JSON: stored as FLAC, listed, and usable at once."""
    form = {"style": "calm", "reference_text": "Slowly.", "consent": "Bob, by letter"}
    audio = recording(2.0, rate=44100)
    made = requests.post(url, data=form, files={"reference_audio": ("a.wav", audio)}, timeout=30)
    shown = made.json()
    recordings = shown.pop("recordings")
    assert shown.pop("prompted") is True
    expected = {"name": "bob", "language": "en", "styles": {"calm": "Slowly."}, "default_style": "calm"}
    expected["read_only"] = False
    assert (made.status_code, shown) == (201, expected)
    assert recordings["calm"]["consent"] == "Bob, by letter"
    assert recordings["calm"]["created_at"] == recordings["calm"]["updated_at"] != ""
    more = {"style": "happy", "reference_text": "你好", "reference_audio": encoded(recording(fmt="OGG"))}
    assert requests.post(url, json=more, timeout=30).status_code == 201
    assert requests.post(url, json=more, timeout=30).status_code == 200
    assert requests.get(url, timeout=10).json()["styles"] == {"calm": "Slowly.", "happy": "你好"}
    assert "bob" in requests.get(server.url + "/info", timeout=10).json()["voices"]
    wave, rate = soundfile.read(stored(home, "bob", "calm"))
    original, _ = soundfile.read(io.BytesIO(audio))
    assert rate == 44100
    assert abs(wave - original).max() < 1e-6
    for style in ("calm", "happy"):
        body = {**TEXT, "voice": "bob", "style": style}
        assert requests.post(server.url + "/tts", json=body, timeout=30).status_code == 200
    refused = requests.post(server.url + "/tts", json={**TEXT, "voice": "bob", "style": "sad"}, timeout=30)
    assert error(refused) == (400, "unsupported", "style")
    assert "calm, happy" in refused.json()["error"]["message"]


def test_a_voice_and_one_style_are_deleted(server: Server, url: str) -> None:
    """`?style=` deletes one style; without it the whole voice is deleted, and unknown from then on."""
    for style in ("calm", "happy", "sad"):
        body = {"style": style, "reference_audio": encoded(recording())}
        assert requests.post(url, json=body, timeout=30).status_code == 201
    assert requests.delete(url, params={"style": "calm"}, timeout=10).status_code == 204
    assert set(requests.get(url, timeout=10).json()["styles"]) == {"happy", "sad"}
    assert error(requests.delete(url, params={"style": "calm"}, timeout=10)) == (404, "unknown_style", "style")
    assert requests.delete(url, timeout=10).status_code == 204
    assert error(requests.delete(url, timeout=10)) == (404, "unknown_voice", "voice")
    body = {**TEXT, "voice": "bob"}
    assert error(requests.post(server.url + "/tts", json=body, timeout=30))[0] == 404


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, (400, "invalid_field", "reference_audio")),
        ({"reference_audio": "?"}, (400, "invalid_field", "reference_audio")),
        ({"reference_audio": "http://example.org/a.wav"}, (400, "invalid_field", "reference_audio")),
        ({"reference_audio": encoded(b"no audio")}, (422, "undecodable_audio", "reference_audio")),
        ({"reference_audio": encoded(recording(0.5))}, (400, "invalid_audio", "reference_audio")),
        ({"reference_audio": encoded(recording(31))}, (400, "invalid_audio", "reference_audio")),
        ({"reference_audio": encoded(recording(amplitude=0))}, (400, "invalid_audio", "reference_audio")),
        ({"reference_audio": encoded(recording()), "style": "../x"}, (400, "invalid_field", "style")),
        ({"reference_audio": encoded(recording()), "style": ""}, (400, "invalid_field", "style")),
        ({"reference_audio": encoded(recording()), "reference_text": "a\0"}, (400, "invalid_field", "reference_text")),
        ({"reference_audio": encoded(recording()), "language": "English"}, (400, "invalid_field", "language")),
        ({"reference_audio": encoded(recording()), "text": "x"}, (400, "invalid_field", "text")),
        ({"reference_audio": encoded(recording()), "consent": "x" * 1001}, (400, "invalid_field", "consent")),
    ],
)
def test_an_invalid_voice_is_refused_and_not_stored(
    url: str, home: Path, fields: dict[str, Any], expected: tuple[int, str, str]
) -> None:
    """With the codes and the names of fields that /tts has."""
    answer = requests.post(url, json=fields, timeout=30)
    assert error(answer) == expected
    assert not list(home.glob("bob/*.flac"))


@pytest.mark.parametrize("name", ["..%2Fx", "%2e%2e", "a.b", "-a", "a" * 65, "%00", "a%0a"])
def test_an_invalid_name_is_refused(server: Server, home: Path, name: str) -> None:
    """No path or special character reaches the disk, neither to write nor to delete."""
    before = sorted(home.parent.rglob("*"))
    answer = requests.post(f"{server.url}/voices/{name}", json={"reference_audio": encoded(recording())}, timeout=30)
    assert answer.status_code in (400, 404, 405)
    assert requests.delete(f"{server.url}/voices/{name}", timeout=10).status_code in (400, 404, 405)
    assert sorted(home.parent.rglob("*")) == before


def test_a_replaced_default_voice_is_the_default_at_once(server: Server, home: Path) -> None:
    """Requests without a voice use the new recording."""
    answer = requests.post(
        server.url + "/voices/default", json={"reference_audio": encoded(recording(4.0))}, timeout=30
    )
    assert answer.status_code == 200
    assert soundfile.info(stored(home, "default", "neutral")).duration == 4.0
    assert requests.post(server.url + "/tts", json=TEXT, timeout=30).status_code == 200


def test_without_a_directory_voices_are_refused_clearly(tmp_path: Path) -> None:
    """403 that names the setting; requests with reference audio still work, and the log has a warning."""
    with Server() as server:
        answer = requests.post(server.url + "/voices/bob", json={"reference_audio": encoded(recording())}, timeout=30)
        assert error(answer) == (403, "voices_read_only", None)
        assert "voices_dir" in answer.text
        voiceless = requests.post(server.url + "/tts", json=TEXT, timeout=30)
        assert error(voiceless) == (404, "unknown_voice", "voice")
        assert "got none" in voiceless.text, "a client that named no voice is not told that its voice is unknown"
        assert "reference_audio" in voiceless.text
        body = {**TEXT, "reference_audio": encoded(recording())}
        assert requests.post(server.url + "/tts", json=body, timeout=30).status_code == 200
        assert any("default voice is not ready" in line for line in server.lines)
