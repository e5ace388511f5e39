"""JSON bodies cost little, whatever is in them, and so do the errors for them."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from server.errors import MAX_FIELD_CHARS, MAX_MESSAGE_BYTES, ApiError, to_error_info
from server.http.json_body import MAX_BYTES_BESIDE_RECORDINGS, MAX_SIGNS, MAX_TEXT_BODY_BYTES, json_fields, read_json
from server.http.large_input import LARGE
from server.http.schemas import MAX_TEXT_CHARS, SegmentsRequest, SpeechRequest, decode_audio, validate
from tests.helpers.server import Server

MAX_ANSWER_BYTES = 2048
HUGE = 20 * 2**20


def _in_recordings(pattern: str, escaped: str) -> Callable[[str], str]:
    """Escapes that pattern wherever it is."""
    return lambda text: text.replace(pattern, escaped)


_escaped_slash = _in_recordings("/", "\\/")
_escaped_plus = _in_recordings("+", "\\u002B")
_lines = _in_recordings("AA", "A\\nA")
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
    body = json.dumps({"text": "x", name * 2**14: 1}).encode()
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


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"%s": 1}' % (b"x" * HUGE), id="name"),
        pytest.param(b'{"text": "%s"}' % (b"x" * HUGE), id="text"),
        pytest.param(b'{"text": "x", "seed": %s}' % (b"1" * HUGE), id="number"),
        pytest.param(b'{"reference_audio": "%s", "x": "%s"}' % (b"A" * HUGE, b"x" * HUGE), id="beside"),
        pytest.param(b'{"reference_audio"%s: "%s"}' % (b" " * 17, b"B" * HUGE), id="spaces"),
    ],
)
def test_only_a_recording_may_be_long(body: bytes) -> None:
    """The rest is refused as soon as it is too long, and is not parsed."""
    stream = io.BytesIO(body)
    with pytest.raises(ApiError, match="bytes beside recordings") as caught:
        read_json(stream, len(body))
    assert caught.value.status == 413
    assert stream.tell() <= (HUGE if body.count(b"A") == HUGE else 0) + MAX_BYTES_BESIDE_RECORDINGS + 2 * LARGE


@given(
    st.binary(min_size=1, max_size=64),
    st.lists(st.integers(1, 5000), min_size=1, max_size=3),
    st.sampled_from([lambda text: text, _escaped_slash, _escaped_plus, _lines]),
    st.integers(0, 2**16),
    st.sampled_from([None, 2]),
)
@settings(max_examples=60)
def test_recordings_are_read_in_slices(
    data: bytes, repeats: list[int], escape: Callable[[str], str], padding: int, indent: int | None
) -> None:
    """Wherever they begin and end, and however JSON escapes them."""
    items = [{"ref_audio": data * number, "seed": number} for number in repeats]
    fields = {"text": "x" * padding, "items": items, "reference_audio": data * repeats[0], "style": '中"\\'}
    text = json.dumps(fields, default=lambda data: base64.b64encode(data).decode(), ensure_ascii=False, indent=indent)
    body = escape(text).encode()
    assert read_json(io.BytesIO(body), LARGE + 1) == fields
    small = read_json(io.BytesIO(body), 0)
    assert decode_audio(small["reference_audio"]) == fields["reference_audio"]


@pytest.mark.parametrize("end", ["!", "A", "\\", '\\"', "\\u00e9", "\\ud83d", "\x01", "é"])
def test_a_long_recording_that_is_none(end: str) -> None:
    """Gets the error of its field."""
    body = ('{"reference_audio": "' + "A" * 2 * LARGE + end + '", "text": "x"}').encode()
    with pytest.raises(ApiError, match="base64") as caught:
        read_json(io.BytesIO(body), len(body))
    assert (caught.value.status, caught.value.field) == (400, "reference_audio")


@pytest.mark.parametrize("body", [b'{"reference_audio": "' + b"A" * 2 * LARGE, b'{"a": 1' + b" " * LARGE])
def test_a_large_body_without_an_end(body: bytes) -> None:
    """Is no JSON."""
    with pytest.raises(ApiError) as caught:
        read_json(io.BytesIO(body), len(body))
    assert caught.value.code == "malformed_json"


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
