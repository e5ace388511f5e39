"""Request bodies: which are valid, and what the error for an invalid one says."""

import base64
import io
import json
import re

import pytest
from werkzeug.datastructures import FileStorage, MultiDict

from server.errors import ApiError
from server.http.json_body import json_fields
from server.http.parsing import form_fields
from server.http.schemas import SpeechRequest, validate


def parse(body: bytes) -> SpeechRequest:
    return validate(SpeechRequest, json_fields(body), strict=True)


def test_only_the_text_is_required() -> None:
    """Every other field has a default."""
    params = parse('{"text": "你好"}'.encode())
    assert (params.text, params.format, params.history, params.reference_text) == ("你好", "wav", True, "")
    assert (params.voice, params.seed, params.sample_rate, params.phoneme, params.timeout, params.speed) == (None,) * 6


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{}", "text"),
        (b'{"text": 5}', "text"),
        (b'{"text": ["a"]}', "text"),
        (b'{"text": null}', "text"),
        (b'{"text": ""}', "text"),
        (b'{"text": "a\\u0000b"}', "text"),
        (b'{"text": "%s"}' % (b"x" * 5001), "text"),
        (b'{"text": "a", "speed": 0.24}', "speed"),
        (b'{"text": "a", "speed": 4.01}', "speed"),
        (b'{"text": "a", "speed": true}', "speed"),
        (b'{"text": "a", "speed": "1"}', "speed"),
        (b'{"text": "a", "sample_rate": 11025}', "sample_rate"),
        (b'{"text": "a", "format": "au"}', "format"),
        (b'{"text": "a", "seed": 1.5}', "seed"),
        (b'{"text": "a", "seed": -1}', "seed"),
        (b'{"text": "a", "seed": 99999999999999999999}', "seed"),
        (b'{"text": "a", "history": 1}', "history"),
        (b'{"text": "a", "timeout": 0}', "timeout"),
        (b'{"text": "a", "timeout": 601}', "timeout"),
        (b'{"text": "a", "voice": "../../etc"}', "voice"),
        (b'{"text": "a", "style": "calm", "emotion": "happy"}', "emotion"),
        (b'{"text": "a", "continuation": 1}', "continuation"),
        (b'{"text": "a", "language": "fr"}', "language"),
        (b'{"text": "a", "language": null}', "language"),
        (b'{"text": "a", "pronunciation": true}', "pronunciation"),
        (b'{"text": "a", "colour": "x"}', "colour"),
    ],
)
def test_an_error_names_the_field_and_what_was_expected_and_given(body: bytes, field: str) -> None:
    """Wrong type, out of range, unknown: 400 with the field, also in the message."""
    with pytest.raises(ApiError) as caught:
        parse(body)
    assert (caught.value.status, caught.value.field) == (400, field)
    assert str(caught.value).startswith(f"{field}: ")
    assert re.search("expected .+, got .", str(caught.value))


@pytest.mark.parametrize(
    "body",
    [b"", b'{"tex', b"[]", b'"text"', b"nul", b"\xff\xfe", b'{"text": "\xc3\x28"}', b'{"text": "\\ud800"}',
     b'{"text": "a", "speed": NaN}', b"[" * 50_000, b'{"a":' * 10_000],
)  # fmt: skip
def test_a_body_that_is_no_json_object_is_malformed(body: bytes) -> None:
    """Incomplete JSON, broken UTF-8, lone surrogates, NaN and deep nesting are all a 400."""
    with pytest.raises(ApiError) as caught:
        parse(body)
    assert (caught.value.status, caught.value.code) == (400, "malformed_json")


def test_the_error_for_a_language_names_all_languages() -> None:
    """The values are listed without quotes."""
    with pytest.raises(ApiError) as caught:
        parse(b'{"text": "a", "language": "fr"}')
    assert str(caught.value) == "language: expected auto, en or zh, got 'fr'"


def test_an_invalid_text_is_not_repeated() -> None:
    """The message has only the length of a long value: texts must not get into responses and logs."""
    with pytest.raises(ApiError, match="40 characters") as caught:
        parse(b'{"text": "a", "voice": "%s"}' % (b"secret !" * 5))
    assert "secret" not in str(caught.value)


def test_a_form_has_numbers_and_booleans_as_text() -> None:
    """A multipart form can have every field that JSON can."""
    form = MultiDict({"text": "a", "speed": "1.5", "seed": "7", "history": "false", "sample_rate": "8000"})
    upload = MultiDict({"reference_audio": FileStorage(io.BytesIO(b"RIFF"))})
    params = validate(SpeechRequest, form_fields(form, upload), strict=False)
    assert (params.speed, params.seed, params.history, params.sample_rate) == (1.5, 7, False, 8000)
    assert params.reference_audio == b"RIFF"


@pytest.mark.parametrize(
    ("form", "files", "field"),
    [
        ([("text", "a"), ("seed", "x")], [], "seed"),
        ([("text", "a"), ("text", "b")], [], "text"),
        ([("text", "a\ufffd")], [], "text"),
        ([("text", "a")], ["other"], "other"),
        ([("text", "a")], ["reference_audio", "reference_audio"], "reference_audio"),
        ([("text", "a"), ("reference_audio", "eA==")], ["reference_audio"], "reference_audio"),
    ],
)
def test_an_invalid_form_is_refused_like_json(form: list[tuple[str, str]], files: list[str], field: str) -> None:
    """Invalid, repeated and unknown fields are named; text that is not UTF-8 is refused."""
    uploads = MultiDict([(name, FileStorage(io.BytesIO(b"x"))) for name in files])
    with pytest.raises(ApiError) as caught:
        validate(SpeechRequest, form_fields(MultiDict(form), uploads), strict=False)
    assert (caught.value.status, caught.value.field) == (400, field)


def parse_audio(reference_audio: object) -> bytes | None:
    return parse(json.dumps({"text": "a", "reference_audio": reference_audio}).encode()).reference_audio


def test_reference_audio_is_base64_or_a_data_uri() -> None:
    """Both give the same bytes; line breaks inside base64 do no harm."""
    data = bytes(range(256))
    encoded = base64.b64encode(data).decode()
    assert parse_audio(encoded) == data
    assert parse_audio(f"{encoded[:50]}\n{encoded[50:]}") == data
    assert parse_audio(f"data:audio/wav;base64,{encoded}") == data
    assert parse_audio(None) is None


@pytest.mark.parametrize(
    "value", ["http://example.org/a.wav", "file:///etc/passwd", "data:audio/wav,abc", "a", "é===", 5, ["eA=="]]
)
def test_urls_and_invalid_base64_are_refused(value: object) -> None:
    """Nothing is fetched for a client; invalid base64 is a 400 for its field."""
    with pytest.raises(ApiError, match=r"reference_audio: expected .+, got .") as caught:
        parse_audio(value)
    assert (caught.value.status, caught.value.field) == (400, "reference_audio")
