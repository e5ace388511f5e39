"""The continuation token itself, and chains of requests over real HTTP."""

from __future__ import annotations

import base64
import contextlib
import hmac
from dataclasses import replace
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from glmtts.engine.api import EngineInfo
from server.errors import ApiError
from server.http import continuation
from server.http.continuation import Continuation
from tests.helpers.server import Server

INFO = EngineInfo("glm-tts", "0123456789ab", ("zh",), (24000,), (), "cpu", 1)
TEXT = "Hello there. How are you today? Fine, thank you."
SSML = '<speak>Hello there.<break time="1.5s"/>How are you today? Fine, thank you.<break time="250ms"/></speak>'

IDS = st.lists(st.integers(0, 2**32 - 1), max_size=60).map(tuple)
CONTINUATIONS = st.builds(Continuation, st.integers(0, 2**31 - 1), st.lists(st.tuples(IDS, IDS), max_size=5).map(tuple))


@given(CONTINUATIONS)
def test_decode_inverts_encode(done: Continuation) -> None:
    """For any ids, and the token fits into a header and into JSON."""
    token = continuation.encode(done, INFO)
    assert continuation.decode(token, INFO) == done
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def test_a_second_of_speech_takes_about_fifty_bytes() -> None:
    """25 speech tokens of 15 bits, and little else."""
    done = Continuation(3, ((tuple(range(60000, 60100)), tuple(range(32000, 32750))),))
    packed = len(continuation.encode(done, INFO)) * 3 // 4
    assert packed < 50 * 30 + 3 * 100 + 40


@pytest.mark.parametrize("other", [{"model_version": "ba9876543210"}, {"model": "nano"}])
def test_a_token_of_another_checkpoint_is_refused(other: dict[str, Any]) -> None:
    """The message names this node's model; the device and the number of streams may differ."""
    token = continuation.encode(Continuation(1, (((1, 2), (3,)),)), INFO)
    with pytest.raises(ApiError, match="another checkpoint") as caught:
        continuation.decode(token, replace(INFO, **other))
    assert (caught.value.status, caught.value.field) == (400, "continuation")
    assert continuation.decode(token, replace(INFO, device="cuda:0", max_streams=16)).segments == 1


@given(CONTINUATIONS, st.data())
def test_a_damaged_token_is_refused(done: Continuation, data: st.DataObject) -> None:
    """Changing any byte, or cutting the token at any byte, makes it invalid."""
    token = continuation.encode(done, INFO)
    whole = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    index = data.draw(st.integers(0, len(whole) - 1))
    changed = bytes([*whole[:index], whole[index] ^ data.draw(st.integers(1, 255)), *whole[index + 1 :]])
    for damaged in (changed, whole[:index]):
        with pytest.raises(ApiError):
            continuation.decode(base64.urlsafe_b64encode(damaged).decode().rstrip("="), INFO)


@given(st.binary(max_size=80))
def test_a_forged_token_is_refused_or_read(body: bytes) -> None:
    """Anyone can compute the key and sign any bytes: they decode to lists of ids or are refused, without a crash."""
    key, tag = continuation._key(INFO)
    mac = hmac.digest(key, body, "sha256")[: continuation.MAC_BYTES]
    token = base64.urlsafe_b64encode(continuation.FORMAT + tag + mac + body).decode().rstrip("=")
    with contextlib.suppress(ApiError):
        assert all(len(segment) == 2 for segment in continuation.decode(token, INFO).history)


def say(server: Server, path: str = "/tts", **fields: Any) -> requests.Response:
    return requests.post(server.url + path, json={"text": TEXT, "format": "pcm", "seed": 4, **fields}, timeout=60)


def segments(server: Server, text: str = TEXT) -> list[str]:
    listed = requests.post(server.url + "/segments", json={"text": text}, timeout=10).json()["segments"]
    return [segment["text"] for segment in listed]


def token_of(server: Server, answer: requests.Response) -> str:
    record = requests.get(f"{server.url}/requests/{answer.headers['X-Request-Id']}", timeout=10).json()
    return str(record["continuation"])


@pytest.mark.parametrize("written", [TEXT, SSML], ids=["text", "ssml"])
@pytest.mark.parametrize("history", [True, False])
@pytest.mark.parametrize("path", ["/tts", "/tts/stream"])
def test_a_chain_of_segments_sounds_as_the_whole(server: Server, path: str, history: bool, written: str) -> None:
    """Segment by segment, each with the token of the one before: exactly the samples of a single request."""
    texts = segments(server, written)
    assert len(texts) == 3
    audio, token = b"", None
    for text in texts:
        answer = say(server, path, text=text, segmented=True, continuation=token, history=history)
        assert answer.status_code == 200, answer.text
        audio, token = audio + answer.content, token_of(server, answer)
        if path == "/tts":
            assert answer.headers["X-Continuation"] == token
    whole = say(server, path, text=written, history=history)
    assert audio == whole.content
    assert token == token_of(server, whole)


def test_earlier_segments_change_the_audio(server: Server) -> None:
    """Without its continuation, a segment gets the samples of a first one."""
    first, second, _ = segments(server)
    token = say(server, text=first).headers["X-Continuation"]
    assert say(server, text=second, continuation=token).content != say(server, text=second).content
    numbered = say(server, text=second, continuation=token, history=False).content
    assert numbered not in (say(server, text=second).content, say(server, text=second, continuation=token).content)


def test_a_segment_is_not_split_again(server: Server) -> None:
    """`segmented` text is one segment, whatever its punctuation."""
    answer = say(server, text="One. Two.", segmented=True)
    assert requests.get(f"{server.url}/requests/{answer.headers['X-Request-Id']}", timeout=10).json()["segments"] == 1
    assert requests.post(server.url + "/tts", json={"text": "🙂", "segmented": True}, timeout=10).status_code == 400


def test_a_bad_token_is_a_400(server: Server) -> None:
    """No token, one of another checkpoint, and ids that the model does not have: each names the field."""
    alien = continuation.encode(Continuation(1), INFO)
    fake = EngineInfo("fake", "fake-1", (), (), (), "cpu", 1)
    beyond = continuation.encode(Continuation(1, (((1,), (40000,)),)), fake)
    for token, words in ((alien, "fake-1"), ("x", "unchanged"), ("a b", "unchanged"), (beyond, "32767"), ("", "token")):
        answer = say(server, continuation=token)
        assert answer.status_code == 400
        problem = answer.json()["error"]
        assert problem["field"] == "continuation"
        assert words in problem["message"]


def test_a_token_is_in_no_log_line(server: Server) -> None:
    """The text could be recovered from it."""
    token = say(server).headers["X-Continuation"]
    assert not [line for line in server.lines if token[:40] in line or "continuation" in line]
