"""The WebSocket, with a real client: text in pieces, sound, sentences, barge-in and errors."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from server.keys.__main__ import add_key
from tests.helpers.server import Server, recording, store_voice, wait_until

pytestmark = pytest.mark.processes

PATH = "/v1/audio/speech/stream"
TEXT = "Hello there. How are you? I am fine."


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    voices = tmp_path_factory.mktemp("voices")
    store_voice(voices, "default", {"neutral": "This is me.", "happy": "Oh, wonderful!"})
    (voices / "aliases.json").write_text('{"narrator": "default"}', "utf-8")
    with Server("fake:delay=0.02", voices=voices, env={"GLMTTS_MAX_CONCURRENT_REQUESTS": "4"}) as running:
        yield running


def open_socket(server: Server, **headers: str) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{server.port}{PATH}", additional_headers=headers, max_size=None)


def send(client: ClientConnection, kind: str, **fields: Any) -> None:
    client.send(json.dumps({"type": kind, **fields}))


def receive(client: ClientConnection, until: str) -> tuple[list[dict[str, Any]], bytes]:
    """The messages up to one of a type, and the audio between them."""
    messages: list[dict[str, Any]] = []
    audio = b""
    while not messages or messages[-1]["type"] != until:
        data = client.recv(timeout=60)
        if isinstance(data, bytes):
            audio += data
        else:
            messages.append(json.loads(data))
            assert messages[-1]["type"] != "error" or until == "error", messages[-1]
    return messages, audio


def whole(server: Server, text: str = TEXT, **fields: Any) -> bytes:
    body = {"input": text, "response_format": "pcm", **fields}
    answer = requests.post(server.url + "/v1/audio/speech", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.content


def test_a_recording_is_cloned_and_marked(tmp_path: Path) -> None:
    """As over HTTP: with consent where it is required, a line in the audit log, and the mark in front, which counts."""
    log = tmp_path / "audit.jsonl"
    own = {"GLMTTS_REQUIRE_CONSENT": "on", "GLMTTS_AUDIT_LOG": str(log), "GLMTTS_AUDIBLE_MARK": "on"}
    fields = {"seed": 7, "reference_audio": base64.b64encode(recording()).decode(), "consent": "Anna, by letter"}
    with Server("fake:", env=own) as server, open_socket(server) as client:
        send(client, "session.config", seed=7, reference_audio=fields["reference_audio"])
        send(client, "input.text", text=TEXT)
        send(client, "input.done")
        assert receive(client, "error")[0][-1]["error"]["param"] == "consent"
        send(client, "session.config", **fields)
        send(client, "input.text", text=TEXT)
        send(client, "input.done")
        messages, audio = receive(client, "audio.done")
        assert audio == whole(server, **fields)
    [sentence, *_] = [message for message in messages if message["type"] == "sentence"]
    assert sentence["start_s"] == 0.9
    entries = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    assert {(entry["event"], entry["address"], entry["consent"]) for entry in entries} == {
        ("clone", "127.0.0.1", "Anna, by letter")
    }


def test_a_text_in_pieces_sounds_like_the_whole(server: Server) -> None:
    """As one file with the same samples, whose sentences lie where they are said to be; then another one."""
    with open_socket(server) as client:
        send(client, "session.config", seed=7, speed=1.0, voice="narrator")
        for _ in range(2):
            for start in range(0, len(TEXT), 3):
                send(client, "input.text", text=TEXT[start : start + 3])
            send(client, "input.done")
            messages, audio = receive(client, "audio.done")
            assert messages[0] == {"type": "audio.start", "sample_rate": 24000, "format": "pcm"}
            assert audio == whole(server, seed=7, voice="default")
            sentences = [message for message in messages if message["type"] == "sentence"]
            assert [message["index"] for message in sentences] == list(range(len(sentences)))
            assert " ".join(message["text"].strip() for message in sentences) == TEXT
            ends = [0.0, *(message["end_s"] for message in sentences)]
            assert all(message["start_s"] >= end for message, end in zip(sentences, ends, strict=False))
            assert messages[-1]["audio_seconds"] == pytest.approx(len(audio) / 48000, abs=0.01)
            assert ends[-1] <= messages[-1]["audio_seconds"] + 0.001
        send(client, "session.close")
        assert receive(client, "session.done")[0][-1] == {"type": "session.done"}
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(timeout=30)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1000


def test_a_sentence_is_spoken_before_the_next_one_is_written(server: Server) -> None:
    """And half a sentence after a second in which nothing follows."""
    with open_socket(server) as client:
        send(client, "input.text", text="Hello there. How")
        assert receive(client, "sentence")[0][-1]["text"].strip() == "Hello there."
        assert receive(client, "sentence")[0][-1]["text"].strip() == "How"


def test_formats_are_those_of_requests(server: Server) -> None:
    """One encoder for all pieces: the file is a whole one, with a header of its own."""
    with open_socket(server) as client:
        send(client, "session.config", response_format="wav", sample_rate=16000)
        send(client, "input.text", text=TEXT)
        send(client, "session.close")
        messages, audio = receive(client, "session.done")
    assert messages[0] == {"type": "audio.start", "sample_rate": 16000, "format": "wav"}
    assert audio[:4] == b"RIFF"
    assert audio.count(b"RIFF") == 1


def test_closing_stops_the_work(server: Server) -> None:
    """Barge-in, by a closing handshake or by a lost connection: minutes of speech end at once, queued text too."""
    for is_clean in (True, False):
        with open_socket(server) as client:
            send(client, "input.text", text="This goes on. " * 200)
            receive(client, "audio.start")
            assert server.metric("glmtts_in_flight") == 1
            if not is_clean:
                client.socket.shutdown(socket.SHUT_RDWR)
        wait_until(lambda: server.metric("glmtts_in_flight") == 0, "the work to stop", seconds=5)
        wait_until(lambda: server.metric("glmtts_backlog_seconds") == 0, "the backlog to be gone", seconds=5)
    wait_until(lambda: server.metric("glmtts_cancellations_total", reason="disconnected") == 2, "the count")


def test_idle_sockets_do_no_harm(server: Server) -> None:
    """A hundred of them, beside some that speak: they hold no thread and no place."""
    with ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(open_socket(server))
        speaking = [stack.enter_context(open_socket(server)) for _ in range(4)]
        for client in speaking:
            send(client, "session.config", seed=1)
            send(client, "input.text", text=TEXT)
            send(client, "input.done")
        sounds = [receive(client, "audio.done")[1] for client in speaking]
        assert sounds == [whole(server, seed=1)] * 4
        assert server.status("/health") == 200


def test_a_busy_node_refuses_by_the_same_rules(server: Server) -> None:
    """An utterance that has begun keeps its socket, one more than fit is told so, and may try again."""
    with ExitStack() as stack:
        for _ in range(4):
            client = stack.enter_context(open_socket(server))
            send(client, "input.text", text="This goes on. " * 50)
        wait_until(lambda: server.metric("glmtts_in_flight") == 4, "all places to be taken")
        late = stack.enter_context(open_socket(server))
        send(late, "input.text", text=TEXT)
        send(late, "input.done")
        error = receive(late, "error")[0][-1]["error"]
        assert (error["code"], error["type"]) == ("busy", "rate_limit_error")
        assert error["retry_after"] >= 1
    wait_until(lambda: server.metric("glmtts_in_flight") == 0, "the places to be free")


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("no JSON", "malformed_json"),
        (b"binary", "invalid_message"),
        ('{"type": "input.nothing"}', "invalid_message"),
        ('{"type": "input.text", "text": 3}', "invalid_message"),
        ('{"type": "session.config", "speed": 99}', "invalid_field"),
        ('{"type": "session.config", "voice": "nobody"}', "unknown_voice"),
    ],
)
def test_an_invalid_message_is_an_error_and_no_end(server: Server, message: str | bytes, code: str) -> None:
    """The socket goes on as before."""
    with open_socket(server) as client:
        client.send(message)
        assert receive(client, "error")[0][-1]["error"]["code"] == code
        send(client, "input.text", text="Hello.")
        send(client, "input.done")
        assert receive(client, "audio.done")[1]


def test_what_cannot_be_spoken_is_left_out(server: Server) -> None:
    """A model writes emoji and lines; only an utterance of nothing else is an error."""
    with open_socket(server) as client:
        send(client, "input.text", text="Hello.\n---\n")
        send(client, "input.done")
        assert receive(client, "audio.done")[1]
        send(client, "input.text", text="---")
        send(client, "input.done")
        assert receive(client, "error")[0][-1]["error"]["code"] == "invalid_text"


def test_a_failure_ends_the_utterance_only(server: Server) -> None:
    """What is still written for it is dropped; the next one is spoken."""
    with open_socket(server) as client:
        send(client, "input.text", text="A LATE FAULT-MEMORY. And ")
        assert receive(client, "error")[0][-1]["error"]["code"] == "device_memory"
        send(client, "input.text", text="more of it. ")
        send(client, "input.done")
        send(client, "input.text", text="Hello.")
        send(client, "input.done")
        messages, _ = receive(client, "audio.done")
        assert [message["text"] for message in messages if message["type"] == "sentence"] == ["Hello."]


def test_a_client_that_does_not_read_is_disconnected(tmp_path: Path) -> None:
    """After the write timeout, like one of a stream."""
    store_voice(tmp_path, "default", {"neutral": "This is me."})
    with Server("fake:", voices=tmp_path, env={"GLMTTS_WRITE_TIMEOUT": "2"}) as server:
        plain = socket.socket()
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2304)
        plain.connect(("127.0.0.1", server.port))
        url = f"ws://127.0.0.1:{server.port}{PATH}"
        with connect(url, sock=plain, max_queue=1, close_timeout=0.1) as client:
            send(client, "session.config", sample_rate=48000)
            send(client, "input.text", text="This goes on. " * 300)
            wait_until(lambda: server.metric("glmtts_in_flight") == 1, "the work to begin")
            wait_until(lambda: server.metric("glmtts_in_flight") == 0, "the client to be cut")


def test_the_handshake_needs_what_a_request_needs(tmp_path: Path) -> None:
    """A key, where there are keys; the right path; an upgrade."""
    keys = tmp_path / "keys.yaml"
    secret = add_key(keys, "test", ["speak"])
    store_voice(tmp_path / "voices", "default", {"neutral": "This is me."})
    with Server(voices=tmp_path / "voices", env={"GLMTTS_API_KEYS_FILE": str(keys)}) as server:
        with pytest.raises(InvalidStatus) as refused:
            open_socket(server)
        assert refused.value.response.status_code == 401
        assert json.loads(refused.value.response.body)["error"]["code"] == "missing_api_key"
        headers = refused.value.response.headers
        assert (headers["x-should-retry"], headers["WWW-Authenticate"]) == ("false", "Bearer")
        wait_until(lambda: any(headers["x-request-id"] in line for line in server.lines), "its log line")
        bearer = {"Authorization": f"Bearer {secret}"}
        with open_socket(server, **bearer) as client:
            assert client.response is not None
            assert client.response.headers["X-Node"].endswith(f"-{server.port}")
            send(client, "input.text", text="Hello.")
            send(client, "session.close")
            assert receive(client, "session.done")[1]
        with pytest.raises(InvalidStatus) as unknown:
            connect(f"ws://127.0.0.1:{server.port}/nowhere", additional_headers=bearer)
        assert unknown.value.response.status_code == 404
        plain = requests.get(server.url + PATH, headers=bearer, timeout=30)
        assert (plain.status_code, plain.headers["Upgrade"]) == (426, "websocket")
        [line] = [line for line in server.log("request") if line["route"] == PATH and line["status"] == 200]
        assert line["key"] == "test"


def test_a_drain_ends_sockets(tmp_path: Path) -> None:
    """What is being spoken is finished; an idle socket is told to go elsewhere, and the node exits."""
    store_voice(tmp_path, "default", {"neutral": "This is me."})
    with (
        Server("fake:delay=0.02", voices=tmp_path) as server,
        open_socket(server) as idle,
        open_socket(server) as speaking,
    ):
        send(speaking, "session.config", seed=1)
        send(speaking, "input.text", text=TEXT)
        send(speaking, "input.done")
        receive(speaking, "audio.start")
        server.process.terminate()
        receive(speaking, "audio.done")
        with pytest.raises(ConnectionClosed) as closed:
            idle.recv(timeout=30)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012
        assert server.process.wait(30) == 0
