"""OpenAI's speech API over real HTTP: what its clients send, and what they need back."""

from __future__ import annotations

import base64
import io
import json
import threading
from typing import Any

import numpy as np
import pytest
import requests
import soundfile

from server.http.encoding import available_formats
from tests.helpers.server import Server, recording, wait_until

TEXT = "Hello there. How are you?"
SECONDS = 0.1 * (len(TEXT) - 1)


def speak(server: Server, **fields: Any) -> requests.Response:
    return requests.post(server.url + "/v1/audio/speech", json={"input": TEXT, **fields}, timeout=60)


def error(response: requests.Response) -> tuple[int, str, str | None, str]:
    """Status, type, param and code; every error has the one shape, an id, and says whether to try again."""
    body = response.json()["error"]
    assert set(body) == {"message", "type", "param", "code"}
    assert response.headers["x-request-id"]
    assert ("Retry-After" in response.headers) != (response.headers.get("x-should-retry") == "false")
    return response.status_code, body["type"], body["param"], body["code"]


def same_audio(first: bytes, second: bytes, fmt: str) -> bool:
    """Whether two files are the same; every Ogg stream has a number of its own, so of these the samples count."""
    if fmt == "opus":
        return np.array_equal(soundfile.read(io.BytesIO(first))[0], soundfile.read(io.BytesIO(second))[0])
    return first == second


def events(response: requests.Response) -> list[dict[str, Any]]:
    """The events of a response, read by the letter of the format."""
    assert response.headers["Content-Type"] == "text/event-stream"
    *lines, end = response.text.split("\n\n")
    assert end == ""
    assert all(line.startswith("data: ") for line in lines)
    return [json.loads(line.removeprefix("data: ")) for line in lines]


@pytest.mark.parametrize("fmt", available_formats())
def test_the_audio_is_that_of_tts(server: Server, fmt: str) -> None:
    """Whole, chunked and as events, in every format: the very bytes that /tts and /tts/stream send."""
    own = {"text": TEXT, "format": fmt, "seed": 3, "sample_rate": 24000}
    whole, streamed = (requests.post(server.url + path, json=own, timeout=60) for path in ("/tts", "/tts/stream"))
    fields = {"response_format": fmt, "seed": 3, "sample_rate": 24000}
    assert same_audio(speak(server, **fields, stream=False).content, whole.content, fmt)
    for chunked in ({}, {"stream": True}, {"stream_format": "audio"}, {"stream": False, "stream_format": "audio"}):
        answer = speak(server, **fields, **chunked)
        assert same_audio(answer.content, streamed.content, fmt)
        assert answer.headers["Content-Type"] == streamed.headers["Content-Type"]
        assert answer.headers["Transfer-Encoding"] == "chunked"
        assert (answer.headers["X-Accel-Buffering"], answer.headers["Cache-Control"]) == ("no", "no-store")
    *others, done = events(speak(server, **fields, stream_format="sse"))
    deltas = [event for event in others if event["type"] != "speech.audio.timing"]
    assert {event["type"] for event in deltas} == {"speech.audio.delta"}
    assert same_audio(b"".join(base64.b64decode(event["audio"]) for event in deltas), streamed.content, fmt)
    assert done["type"] == "speech.audio.done"
    usage = done["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert usage["output_tokens"] > 0


def test_events_say_where_each_segment_is(server: Server) -> None:
    """Once all of it has been made, with its words if the request wants them."""
    received = events(speak(server, stream_format="sse", response_format="pcm", word_timings=True))
    audio = sum(len(base64.b64decode(event["audio"])) for event in received if event["type"] == "speech.audio.delta")
    timings = [event for event in received if event["type"] == "speech.audio.timing"]
    assert [timing["index"] for timing in timings] == list(range(len(timings)))
    assert "".join(timing["text"] for timing in timings).replace(" ", "") == TEXT.replace(" ", "")
    assert (timings[0]["start_s"], timings[-1]["end_s"]) == (0.0, pytest.approx(audio / 2 / 24000, abs=1e-3))
    for timing in timings:
        assert timing["start_s"] <= timing["words"][0]["start_s"] <= timing["words"][-1]["end_s"] <= timing["end_s"]
        assert not any(word["estimated"] for word in timing["words"])
    plain = events(speak(server, stream_format="sse", response_format="pcm"))
    assert [set(event) for event in plain if event["type"] == "speech.audio.timing"] == [
        {"type", "index", "text", "start_s", "end_s"}
    ] * len(timings)


def test_pcm_has_the_rate_that_clients_play_it_at(server: Server) -> None:
    """24 kHz unless the request says otherwise, and a header says so too."""
    plain, other = (speak(server, response_format="PCM", **fields) for fields in ({}, {"sample_rate": 16000}))
    assert (plain.headers["X-Sample-Rate"], other.headers["X-Sample-Rate"]) == ("24000", "16000")
    assert len(plain.content) == pytest.approx(SECONDS * 24000 * 2, abs=4)
    assert len(other.content) == pytest.approx(SECONDS * 16000 * 2, abs=4)


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "tts-1", "voice": "alloy", "speed": 1},
        {"model": "", "voice": "", "speed": "1.0", "response_format": "WAV"},
        {"model": None, "voice": None, "instructions": None, "response_format": None, "speed": None, "stream": None},
        {"model": 5, "voice": {"id": "anna"}},
        {"voice": "Nova", "lang_code": "a", "backend": "openai", "history": [], "timeout": "5", "text": "unknown here"},
        {"language": "English", "stream_format": ""},
        {"language": "zh-CN", "voice": "anna", "style": "calm"},
        {"instructions": "Speak in a cheerful and positive tone."},
    ],
)
def test_what_clients_send_is_no_error(server: Server, fields: dict[str, Any]) -> None:
    """Null, "", numbers as strings, any model, fields of other servers, voices of OpenAI's."""
    answer = speak(server, **fields)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": None}, "input"),
        ({"input": ""}, "input"),
        ({"input": " …!?🙂 "}, "input"),
        ({"input": "안녕하세요"}, "input"),
        ({"input": ["a"]}, "input"),
        ({"input": "a" * 5001}, "input"),
        ({"voice": "nobody"}, "voice"),
        ({"voice": ["alloy"]}, "voice"),
        ({"speed": 9}, "speed"),
        ({"response_format": "au"}, "response_format"),
        ({"stream_format": "ws"}, "stream_format"),
        ({"language": "Klingon"}, "language"),
        ({"style": "angry"}, "style"),
        ({"sample_rate": 1}, "sample_rate"),
        ({"ref_audio": "https://example.com/a.wav"}, "ref_audio"),
        ({"ref_audio": base64.b64encode(recording(0.2)).decode()}, "reference_audio"),
        ({"ref_text": "Hello."}, "reference_text"),
    ],
)
def test_an_error_names_the_clients_own_field(server: Server, fields: dict[str, Any], param: str) -> None:
    """As invalid_request_error with the `param`, that no client tries again, and in the message."""
    answer = speak(server, **fields)
    assert error(answer)[:3] == (400, "invalid_request_error", param)
    assert answer.json()["error"]["message"].startswith(f"{param}: ")


def test_an_unknown_voice_lists_the_stored_ones(server: Server) -> None:
    """So that a person sees what to choose."""
    assert "(anna, default)" in speak(server, voice="nobody").json()["error"]["message"]


def test_instructions_select_a_style(server: Server) -> None:
    """By a word that is one of the voice's styles; a header says which, or that they are unused."""
    assert speak(server, instructions="Sound Happy, please!").headers["X-Instructions"] == "style=happy"
    assert speak(server, instructions="Sound sad.").headers["X-Instructions"] == "unused"
    assert speak(server, instructions="happy", style="neutral").headers["X-Instructions"] == "unused"
    assert "X-Instructions" not in speak(server).headers


def test_a_recording_wins_over_a_voice(server: Server) -> None:
    """Under both of its names, as base64 or as a data: URI."""
    audio = base64.b64encode(recording()).decode()
    for fields in ({"ref_audio": f"data:audio/wav;base64,{audio}"}, {"reference_audio": audio, "ref_text": "Hello."}):
        answer = speak(server, voice="nobody", instructions="happy", **fields)
        assert answer.status_code == 200, answer.text
        record = requests.get(f"{server.url}/requests/{answer.headers['X-Request-Id']}", timeout=10).json()
        assert (record["voice"], record["route"]) == ("upload", "/v1/audio/speech")


def test_a_failure_in_the_middle_is_an_event(server: Server) -> None:
    """With the error object, without `done`; bare audio is cut as that of /tts/stream is."""
    text = "A LATE FAULT-MEMORY, after a chunk."
    first, *_, last = events(speak(server, input=text, stream_format="sse"))
    assert first["type"] == "speech.audio.delta"
    assert last["type"] == "speech.audio.error"
    assert (last["error"]["type"], last["error"]["code"]) == ("server_error", "device_memory")
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        speak(server, input=text)
    wait_until(
        lambda: [e for e in server.log("request") if e["route"] == "/v1/audio/speech" and "error" in e], "the log"
    )


def test_a_failure_before_the_audio_is_an_http_error(server: Server) -> None:
    """Also for events; nobody is asked to repeat what used the device in vain."""
    for fields in ({}, {"stream_format": "sse"}, {"stream": False}):
        answer = speak(server, input="FAULT-MEMORY.", **fields)
        assert error(answer) == (507, "server_error", None, "device_memory")


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/v1/readyz", (404, "invalid_request_error", None, "not_found")),
        ("GET", "/v1", (404, "invalid_request_error", None, "not_found")),
        ("GET", "/v1/", (404, "invalid_request_error", None, "not_found")),
        ("GET", "/v1/audio/speech", (405, "invalid_request_error", None, "method_not_allowed")),
        ("POST", "/v1/models", (405, "invalid_request_error", None, "method_not_allowed")),
        ("GET", "/v1/models/nothing", (404, "invalid_request_error", "model", "model_not_found")),
        ("POST", "/v1/audio/speech", (415, "invalid_request_error", None, "unsupported_media_type")),
    ],
)
def test_every_path_has_error_objects(server: Server, method: str, path: str, expected: tuple[Any, ...]) -> None:
    """Also those without a route."""
    assert error(requests.request(method, server.url + path, timeout=10)) == expected


def test_bodies_that_are_no_request_have_error_objects(server: Server) -> None:
    """Broken JSON, another type of JSON, one that is too long."""
    url, headers = server.url + "/v1/audio/speech", {"Content-Type": "application/json"}
    for body in (b"{", b"[]", b'"text"', b"\xff"):
        answer = requests.post(url, data=body, headers=headers, timeout=10)
        assert error(answer) == (400, "invalid_request_error", None, "malformed_json")
    answer = requests.post(url, data=b" " * (26 * 2**20), headers=headers, timeout=10)
    assert error(answer) == (413, "invalid_request_error", None, "too_large")


def test_a_full_server_says_when_to_come_back(server: Server) -> None:
    """429 with Retry-After, which clients of OpenAI's obey."""
    url = server.url + "/v1/audio/speech"
    running = requests.post(url, json={"input": "a" * 2000}, stream=True, timeout=60)
    waiting = [threading.Thread(target=speak, args=(server,)) for _ in range(3)]
    for thread in waiting:
        thread.start()
    wait_until(lambda: server.metric("glmtts_queued") == 3, "the queue to be full")
    answer = speak(server)
    running.close()
    assert error(answer) == (429, "rate_limit_error", None, "busy")
    assert int(answer.headers["Retry-After"]) >= 1
    for thread in waiting:
        thread.join()
