"""What a node takes from another one, and what it refuses."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from server.voices.peer_client import PeerClient, PeerError

AUDIO = b"a recording"
FILE = f"calm.{hashlib.sha256(AUDIO).hexdigest()}.flac"
TIME = "2026-01-02T03:04:05.000006Z"


def description(**changes: Any) -> dict[str, Any]:
    """A voice.json, with changes of its only recording."""
    details = {"file": FILE, "language": "en", "consent": "", "created_at": TIME, "updated_at": TIME, **changes}
    return {"name": "bob", "language": "en", "transcripts": {"calm": "Hi."}, "recordings": {"calm": details}}


class Peer(ThreadingHTTPServer):
    """A node that responds as `bodies` says, by path; `keys` has the keys that it was shown."""

    bodies: dict[str, bytes]
    keys: list[str | None]


class Handler(BaseHTTPRequestHandler):
    server: Peer

    def do_GET(self) -> None:
        self.server.keys.append(self.headers["Authorization"])
        body = self.server.bodies.get(self.path)
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def peer() -> Iterator[Peer]:
    with Peer(("127.0.0.1", 0), Handler) as server:
        server.bodies, server.keys = {}, []
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def url(peer: Peer) -> str:
    return f"http://127.0.0.1:{peer.server_port}"


def test_the_key_is_read_at_each_request(peer: Peer, tmp_path: Path) -> None:
    """So it can be replaced while the server runs. Names that are none are dropped from an index."""
    key = tmp_path / "key"
    client = PeerClient(key)
    peer.bodies["/sync/voices"] = json.dumps({"voices": {"bob": "1", "../x": "2"}}).encode()
    for secret in ("one", "two"):
        key.write_text(f"{secret}\n")
        assert client.index(url(peer), {}) == {"bob": "1"}
    assert peer.keys == ["Bearer one", "Bearer two"]
    key.unlink()
    with pytest.raises(PeerError, match="FileNotFoundError"):
        client.index(url(peer), {})


def test_a_recording_must_have_its_hash(peer: Peer) -> None:
    """What was damaged or exchanged on the way is not stored."""
    peer.bodies[f"/sync/voices/bob/{FILE}"] = AUDIO
    client = PeerClient(None)
    assert client.recording(url(peer), "bob", FILE) == AUDIO
    peer.bodies[f"/sync/voices/bob/{FILE}"] = AUDIO[:-1]
    with pytest.raises(PeerError, match="another hash"):
        client.recording(url(peer), "bob", FILE)


@pytest.mark.parametrize(
    "changes",
    [
        {"file": "calm.flac"},
        {"file": f"sad.{FILE.split('.')[1]}.flac"},
        {"file": "../calm.flac"},
        {"language": "xx"},
        {"consent": "x" * 5001},
        {"created_at": "yesterday"},
        {"updated_at": "9999-12-31T23:59:59.999999Z"},
    ],
)
def test_a_voice_that_could_not_be_enrolled_is_refused(peer: Peer, changes: dict[str, str]) -> None:
    """A fault or a bad clock of one node does not spread."""
    client = PeerClient(None)
    peer.bodies["/sync/voices/bob"] = json.dumps(description()).encode()
    assert client.voice(url(peer), "bob").transcripts == {"calm": "Hi."}
    peer.bodies["/sync/voices/bob"] = json.dumps(description(**changes)).encode()
    with pytest.raises(PeerError):
        client.voice(url(peer), "bob")


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"voices": 1}', b"\xff", b"1" * 2**20])
def test_an_answer_that_is_no_index_is_an_error(peer: Peer, monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    """So is a node that does not respond."""
    monkeypatch.setattr("server.voices.peer_client.MAX_JSON_BYTES", 2**18)
    peer.bodies["/sync/voices"] = body
    with pytest.raises(PeerError):
        PeerClient(None).index(url(peer), {})
    with pytest.raises(PeerError, match="no response"):
        PeerClient(None).index("http://127.0.0.1:1", {})
