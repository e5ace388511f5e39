"""JSON bodies cost little, whatever is in them, and so do the errors for them."""

import json

import pytest
import requests

from server.errors import MAX_FIELD_CHARS, MAX_MESSAGE_BYTES, ApiError, to_error_info
from server.http.json_body import MAX_SIGNS, MAX_TEXT_BODY_BYTES, json_fields
from server.http.schemas import MAX_TEXT_CHARS, SegmentsRequest, SpeechRequest, validate
from tests.helpers.server import Server

MAX_ANSWER_BYTES = 2048
HUGE = 20 * 2**20
UNKNOWN_NAMES = b'{"text":"x",' + b",".join(b'"k%d":1' % i for i in range(2_000_000)) + b"}"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(UNKNOWN_NAMES, id="names"),
        pytest.param(b'{"text":[' + b"[]," * 2**20 + b"[]]}", id="lists"),
        pytest.param(b'{"text":' + b"[" * 2**20, id="nest"),
        pytest.param(b'{"text":' + b'{"a":' * 2**18, id="objects"),
        pytest.param(b'{"text":[' + b"1," * 2**18 + b"1]}", id="numbers"),
    ],
)
def test_many_values_are_refused_unparsed(body: bytes) -> None:
    """Millions of values would take gigabytes."""
    with pytest.raises(ApiError, match="65536 quotes") as caught:
        json_fields(body)
    assert caught.value.status == 413


@pytest.mark.parametrize("sign", ['"', ",", ":", "[", "{", "\U00020000", "\\"])
def test_every_text_fits(sign: str) -> None:
    """The longest texts are read, though they have only signs, each escaped."""
    texts = {"text": sign * MAX_TEXT_CHARS, "reference_text": sign * MAX_TEXT_CHARS}
    body = json.dumps(texts).encode()
    assert len(body) < MAX_TEXT_BODY_BYTES
    assert 6 * body.count(b'"') < MAX_SIGNS
    assert validate(SegmentsRequest, json_fields(body), strict=True).text == texts["text"]


@pytest.mark.parametrize("name", ["x", "中", "\U00020000", "\n"])
def test_an_error_is_short(name: str) -> None:
    """However long a field's name is, and in whatever way JSON escapes it."""
    body = json.dumps({"text": "x", name * 2**20: 1}).encode()
    with pytest.raises(ApiError) as caught:
        validate(SpeechRequest, json_fields(body), strict=True)
    info = to_error_info(caught.value)
    assert len(json.dumps(info.message)) <= MAX_MESSAGE_BYTES + len("...")
    assert info.field == name * MAX_FIELD_CHARS


def test_long_messages_are_clipped() -> None:
    """The beginning stays, which has the field."""
    info = to_error_info(ApiError(404, "unknown_voice", "voice: " + "中" * 10**6))
    assert info.message.startswith("voice: 中")
    assert info.message.endswith("中...")
    assert to_error_info(ApiError(404, "x", "short")).message == "short"


@pytest.mark.processes
@pytest.mark.parametrize("path", ["/tts", "/tts/stream", "/segments", "/voices/new"])
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(UNKNOWN_NAMES, id="names"),
        pytest.param(b'{"%s": 1}' % (b"x" * HUGE), id="name"),
        pytest.param(b'{"text": "%s"}' % (b"x" * HUGE), id="text"),
        pytest.param(b'{"text": "x", "seed": %s}' % (b"1" * HUGE), id="number"),
        pytest.param(b'{"text": "x", "voice": "%s"}' % (b"a" * HUGE), id="voice"),
    ],
)
def test_answers_are_short(server: Server, path: str, body: bytes) -> None:
    """What is refused is not repeated."""
    answer = requests.post(server.url + path, data=body, headers={"Content-Type": "application/json"}, timeout=60)
    assert answer.status_code in (400, 403, 413)
    assert len(answer.content) <= MAX_ANSWER_BYTES


@pytest.mark.processes
def test_a_chunked_text_is_bounded_too(server: Server) -> None:
    """A body without a recording may not be as long as one with it, though it announces no length."""
    chunks = iter([b'{"text": "', *[b"x" * 2**16] * 4, b'"}'])
    headers = {"Content-Type": "application/json"}
    answer = requests.post(server.url + "/segments", data=chunks, headers=headers, timeout=60)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
