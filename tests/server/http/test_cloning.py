"""Consent to the use of a voice, and the audit log, through the API."""

from __future__ import annotations

import base64
import hashlib
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from server.keys.__main__ import add_key
from tests.helpers.app import MakeClient
from tests.helpers.server import recording

RECORDING = recording()
ENCODED = base64.b64encode(RECORDING).decode()
CONSENT = "Anna, by letter of 2026-01-05"


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_each_clone_leaves_a_line(client: MakeClient, tmp_path: Path) -> None:
    """Who, when, which recording and whose consent; never the text. Speaking as a stored voice leaves none."""
    log, keys = tmp_path / "audit.jsonl", tmp_path / "keys.yaml"
    headers = {"X-API-Key": add_key(keys, "studio", ["speak", "voices"])}
    app = client(audit_log=log, api_keys_file=keys)
    body = {"text": "A secret.", "reference_audio": ENCODED, "reference_text": "Another.", "consent": CONSENT}
    answers = [
        app.post("/tts", json=body, headers=headers),
        app.post("/voices/anna", json={"reference_audio": ENCODED, "consent": CONSENT}, headers=headers),
        app.post("/tts", json={"text": "Hello.", "voice": "anna"}, headers=headers),
        app.delete("/voices/anna?style=neutral", headers=headers),
    ]
    assert [answer.status_code for answer in answers] == [200, 201, 200, 204]
    clone, enrol, delete = lines(log)
    who = {"key": "studio", "address": "127.0.0.1", "recording_sha256": hashlib.sha256(RECORDING).hexdigest()}
    expected = {**who, "consent": CONSENT}
    assert {**expected, "event": "clone"}.items() <= clone.items()
    assert {
        **expected,
        "event": "enrol",
        "voice": "anna",
        "style": "neutral",
        "consent": CONSENT,
    }.items() <= enrol.items()
    assert {"event": "delete", "voice": "anna", "style": "neutral"}.items() <= delete.items()
    assert clone["request_id"] == answers[0].headers["X-Request-Id"]
    assert not any(word in log.read_text() for word in ("secret", "Another", "Hello"))
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_consent_can_be_required(client: MakeClient) -> None:
    """For recordings, stored or sent with a text; a stored voice needs no more of it."""
    app = client(require_consent=True)
    for path, body in (
        ("/tts", {"text": "Hello.", "reference_audio": ENCODED}),
        ("/v1/audio/speech", {"input": "Hello.", "reference_audio": ENCODED}),
        ("/voices/anna", {"reference_audio": ENCODED}),
        ("/voices/anna", {"reference_audio": ENCODED, "consent": "  "}),
    ):
        answer = app.post(path, json=body)
        error = answer.json["error"]
        assert (answer.status_code, error.get("field", error.get("param"))) == (400, "consent"), path
        assert app.post(path, json={**body, "consent": CONSENT}).status_code in (200, 201), path
    assert app.post("/tts", json={"text": "Hello."}).status_code == 200


def test_without_a_line_no_clone(client: MakeClient, tmp_path: Path) -> None:
    """A full or missing disk: nothing is spoken, stored or deleted; other requests are served."""
    log = tmp_path / "logs" / "audit.jsonl"
    log.parent.mkdir()
    app = client(audit_log=log)
    log.unlink()
    log.mkdir()  # a directory cannot be written to, by root either
    for answer in (
        app.post("/tts", json={"text": "Hello.", "reference_audio": ENCODED}),
        app.post("/voices/anna", json={"reference_audio": ENCODED}),
        app.delete("/voices/default"),
    ):
        assert (answer.status_code, answer.json["error"]["code"]) == (507, "storage")
    assert [voice["name"] for voice in app.get("/voices").json["voices"]] == ["default"]
    assert app.post("/tts", json={"text": "Hello."}).status_code == 200
    log.rmdir()
    assert app.post("/tts", json={"text": "Hello.", "reference_audio": ENCODED}).status_code == 200
    assert len(lines(log)) == 1


def test_a_log_that_cannot_be_written_is_an_error_at_startup(client: MakeClient, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        client(audit_log=tmp_path / "none" / "audit.jsonl")
