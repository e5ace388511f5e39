"""The API over real HTTP."""

import base64
import io
import re
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
import requests
import soundfile

from server.keys.__main__ import add_key
from tests.helpers.server import Server, recording, wait_until

TEXT = "Hello there. How are you?"
SECONDS = 0.1 * (len(TEXT) - 1)


def say(server: Server, path: str = "/tts", **fields: Any) -> requests.Response:
    return requests.post(server.url + path, json={"text": TEXT, **fields}, timeout=60)


def error(response: requests.Response) -> tuple[int, str, str | None]:
    """Status, code and field; every error has the one shape and a request id."""
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message", "field"}
    assert response.headers["X-Request-Id"]
    return response.status_code, body["error"]["code"], body["error"]["field"]


@pytest.mark.parametrize("fmt", ["wav", "pcm", "flac"])
@pytest.mark.parametrize("rate", [8000, 24000, 44100, None])
def test_a_whole_utterance(server: Server, fmt: str, rate: int | None) -> None:
    """The body is the file in the requested format and rate, and the headers describe it."""
    answer = say(server, format=fmt, sample_rate=rate, seed=7)
    assert answer.status_code == 200, answer.text
    rate = rate or 24000
    if fmt == "pcm":
        samples = len(answer.content) // 2
    else:
        wave, actual = soundfile.read(io.BytesIO(answer.content))
        samples = len(wave)
        assert actual == rate
    assert samples == pytest.approx(SECONDS * rate, abs=1)
    assert float(answer.headers["X-Audio-Seconds"]) == pytest.approx(SECONDS, abs=0.001)
    assert answer.headers["X-Sample-Rate"] == str(rate)
    assert answer.headers["X-Seed"] == "7"
    assert answer.headers["X-Finish-Reason"] == "stop"
    assert answer.headers["X-Model-Version"] == "fake-1"
    assert answer.headers["AI-Disclosure"] == 'mode=machine-generated;model="fake"'
    assert {part.split(";")[0] for part in answer.headers["Server-Timing"].split(", ")} >= {"queue", "text", "voice"}
    assert answer.headers["Content-Length"] == str(len(answer.content))


@pytest.mark.parametrize(("fmt", "kind"), [("mp3", "mpeg"), ("opus", "ogg"), ("aac", "aac")])
def test_lossy_formats_over_http(server: Server, fmt: str, kind: str) -> None:
    """Whole and streamed, with the content type and the rate of the file."""
    for path in ("/tts", "/tts/stream"):
        answer = say(server, path, format=fmt, sample_rate=44100)
        if fmt == "aac" and shutil.which("ffmpeg") is None:
            assert error(answer) == (400, "unsupported", "format")
            continue
        assert answer.headers["Content-Type"] == f"audio/{kind}"
        assert answer.headers["X-Sample-Rate"] == ("48000" if fmt == "opus" else "44100")
        assert len(answer.content) > 40 * 125 * SECONDS  # 40 kbit/s


def test_a_stream_has_the_samples_of_the_whole(server: Server) -> None:
    """The same request and seed give the same samples, streamed or not, and headers stop proxies from buffering."""
    whole = say(server, format="pcm", seed=3, sample_rate=16000)
    streamed = say(server, "/tts/stream", format="pcm", seed=3, sample_rate=16000)
    assert streamed.content == whole.content
    assert streamed.headers["Transfer-Encoding"] == "chunked"
    assert streamed.headers["X-Accel-Buffering"] == "no"
    assert streamed.headers["Cache-Control"] == "no-store"
    assert streamed.headers["X-Seed"] == "3"
    assert streamed.headers["X-Sample-Rate"] == "16000"


def test_audio_leaves_while_the_rest_is_being_made(server: Server) -> None:
    """The first bytes arrive while the engine still has a backlog."""
    with requests.post(server.url + "/tts/stream", json={"text": "a" * 600}, stream=True, timeout=60) as answer:
        pieces = answer.iter_content(44 + 9600)  # kept: requests disconnects when it is garbage-collected
        assert next(pieces)[:4] == b"RIFF"
        assert server.metric("glmtts_backlog_seconds") > 1


def test_the_record_of_a_request_is_kept(server: Server) -> None:
    """GET /requests/<id> has the fields of the log line and the timing, also for a stream; the log has no text."""
    headers = {"X-Request-Id": "mine-1", "traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01", "via_consul": "true"}
    answer = requests.post(server.url + "/tts/stream", json={"text": TEXT, "seed": 5}, headers=headers, timeout=60)
    own_id = answer.headers["X-Request-Id"]
    known: dict[str, Any] = {}

    def finished() -> bool:
        known.update(requests.get(f"{server.url}/requests/{own_id}", timeout=10).json())
        return known["state"] == "finished"

    wait_until(finished, "the request's end")
    assert known["audio_seconds"] == pytest.approx(SECONDS)
    assert (known["finish_reason"], known["seed"], known["voice"], known["segments"]) == ("stop", 5, "default", 2)
    assert known["prompted"] is True
    assert known["via_consul"] is True
    assert known["client_request_id"] == "mine-1"
    assert known["trace_id"] == "ab" * 16
    assert known["first_audio_seconds"] <= known["total_seconds"]
    timing = known.pop("timing")
    assert [segment["index"] for segment in timing] == [0, 1]
    assert (timing[0]["start_seconds"], timing[-1]["end_seconds"]) == (0.0, pytest.approx(SECONDS))
    assert "".join(segment["text"] for segment in timing).startswith("Hello")

    def log_lines() -> list[dict[str, Any]]:
        return [line for line in server.log("request") if line["request_id"] == own_id]

    wait_until(log_lines, "the log line")
    [line] = log_lines()
    assert {**known, **line} == {**line, **known}
    assert "Hello" not in str(line)
    assert server.metric("glmtts_requests_total", route="/tts/stream", via_consul="true") >= 1
    assert error(requests.get(server.url + "/requests/none", timeout=10)) == (404, "unknown_request", None)


def test_a_clients_request_id_opens_nothing(server: Server) -> None:
    """It is logged beside ours if it fits into a log line; ours cannot be guessed, and is new for each request."""
    url, headers = server.url + "/tts", {"X-Request-Id": "chosen-by-me"}
    own_ids = {
        requests.post(url, json={"text": TEXT}, headers=headers, timeout=30).headers["X-Request-Id"] for _ in range(2)
    }
    assert len(own_ids) == 2
    assert all(re.fullmatch("[0-9a-f]{32}", own_id) for own_id in own_ids)
    assert error(requests.get(server.url + "/requests/chosen-by-me", timeout=10)) == (404, "unknown_request", None)
    requests.post(url, json={"text": TEXT}, headers={"X-Request-Id": "a b<script>"}, timeout=30)
    wait_until(lambda: len(server.log("request")) >= 3, "the log lines")
    assert not any("script" in line for line in server.lines)


@pytest.mark.parametrize("how", ["base64", "data", "multipart"])
def test_reference_audio_can_be_sent_in_three_ways(server: Server, how: str) -> None:
    """As base64 or a data: URI in JSON, and as a file in a form."""
    audio = recording()
    if how == "multipart":
        files = {"reference_audio": ("me.wav", audio, "audio/wav")}
        form = {"text": TEXT, "speed": "2.0", "reference_text": "你好", "format": "pcm"}
        answer = requests.post(server.url + "/tts", data=form, files=files, timeout=60)
    else:
        encoded = ("data:audio/wav;base64," if how == "data" else "") + base64.b64encode(audio).decode()
        answer = say(server, reference_audio=encoded, reference_text="你好", speed=2.0, format="pcm")
    assert answer.status_code == 200, answer.text
    assert len(answer.content) == pytest.approx(SECONDS / 2 * 24000 * 2, abs=4)


@pytest.mark.parametrize(
    ("audio", "expected"),
    [
        (b"this is no audio", (422, "undecodable_audio", "reference_audio")),
        (b"", (422, "undecodable_audio", "reference_audio")),
        (recording(0.5), (400, "invalid_audio", "reference_audio")),
        (recording(31.0), (400, "invalid_audio", "reference_audio")),
        (recording(1800.0, rate=8000, fmt="FLAC"), (400, "invalid_audio", "reference_audio")),
        (recording(3.0, amplitude=0.0), (400, "invalid_audio", "reference_audio")),
    ],
    ids=["no audio", "empty", "short", "long", "30 minutes", "silent"],
)
def test_invalid_reference_audio_is_refused(server: Server, audio: bytes, expected: tuple[int, str, str]) -> None:
    """422 if it does not decode, 400 if it cannot be a reference."""
    answer = say(server, reference_audio=base64.b64encode(audio).decode())
    assert error(answer) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"text": "🙂🙂🙂"}, (400, "invalid_text", "text")),
        ({"text": ""}, (400, "invalid_field", "text")),
        ({"text": "a\0b"}, (400, "invalid_field", "text")),
        ({"speed": 9}, (400, "invalid_field", "speed")),
        ({"format": "m4a"}, (400, "invalid_field", "format")),
        ({"continuation": "x"}, (400, "invalid_field", "continuation")),
        ({"voice": "nobody"}, (404, "unknown_voice", "voice")),
        ({"style": "sad"}, (400, "unsupported", "style")),
        ({"reference_text": "hm"}, (400, "invalid_field", "reference_text")),
        ({"reference_audio": "eA==", "voice": "anna"}, (400, "invalid_field", "voice")),
        ({"reference_audio": "eA==", "style": "calm"}, (400, "invalid_field", "style")),
    ],
)
@pytest.mark.parametrize("path", ["/tts", "/tts/stream"])
def test_an_error_has_its_status_and_field(
    server: Server, path: str, fields: dict[str, Any], expected: tuple[int, str, str]
) -> None:
    """Streams fail as whole utterances do: nothing has been sent yet."""
    assert error(say(server, path, **fields)) == expected


@pytest.mark.parametrize("fields", [{"voice": "anna"}, {"style": "happy"}, {"emotion": "happy"}])
def test_stored_voices_and_styles_work(server: Server, fields: dict[str, str]) -> None:
    """`emotion` is another name for `style`."""
    assert say(server, **fields).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/tts", 405), ("POST", "/health", 405), ("GET", "/none", 404), ("GET", "/voices/none", 404)],
)
def test_wrong_paths_and_methods(server: Server, method: str, path: str, status: int) -> None:
    """They have the one error shape; 405 lists the allowed methods."""
    answer = requests.request(method, server.url + path, timeout=10)
    assert error(answer)[0] == status
    assert ("Allow" in answer.headers) == (status == 405)


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/json; charset=latin-1", "application/x-www-form-urlencoded", ""]
)
def test_other_content_types_are_refused(server: Server, content_type: str) -> None:
    """Only JSON in UTF-8 and multipart forms are accepted."""
    headers = {"Content-Type": content_type}
    answer = requests.post(server.url + "/tts", data=b'{"text": "a"}', headers=headers, timeout=10)
    assert error(answer) == (415, "unsupported_media_type", None)


def test_the_error_lists_the_content_types_of_the_route(server: Server) -> None:
    """/segments accepts no forms, and no route accepts a compressed body."""
    form = requests.post(server.url + "/segments", files={"text": "a"}, timeout=10)
    assert form.status_code == 415
    assert "multipart/form-data" not in form.json()["error"]["message"].partition("expected")[2].partition("got")[0]
    compressed = requests.post(
        server.url + "/tts", json={"text": "a"}, headers={"Content-Encoding": "gzip"}, timeout=10
    )
    assert error(compressed) == (415, "unsupported_media_type", None)
    assert "gzip" in compressed.json()["error"]["message"]


@pytest.mark.parametrize(("text", "status"), [("FAULT-MEMORY.", 507), ("FAULT-ENGINE.", 500)])
def test_a_failing_job_fails_alone(server: Server, text: str, status: int) -> None:
    """Its response reveals nothing internal, and the next request works."""
    answer = say(server, text=text)
    assert error(answer)[0] == status
    assert "secret" not in answer.text
    assert say(server).status_code == 200


def test_a_failure_after_the_first_byte_cuts_the_response_short(server: Server) -> None:
    """Without a clean end, so that no client takes a truncated file for a whole one; the log has the code."""
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        say(server, "/tts/stream", text="A LATE FAULT-MEMORY, after a chunk.")
    wait_until(lambda: any(line.get("error") == "device_memory" for line in server.log("request")), "the log line")
    assert say(server).status_code == 200


def test_a_timeout_in_the_queue_is_a_503(server: Server) -> None:
    """A request that waits longer than its timeout gets Retry-After."""
    with requests.post(server.url + "/tts/stream", json={"text": "a" * 400}, stream=True, timeout=60):
        answer = say(server, timeout=0.05)
    assert error(answer) == (503, "queue_timeout", None)
    assert int(answer.headers["Retry-After"]) >= 1


def test_a_full_queue_is_a_429(server: Server) -> None:
    """The queue is bounded; the rejection has Retry-After and is counted."""
    running = requests.post(server.url + "/tts/stream", json={"text": "a" * 2000}, stream=True, timeout=60)
    waiting = [threading.Thread(target=say, args=(server,)) for _ in range(3)]
    for thread in waiting:
        thread.start()
    wait_until(lambda: server.metric("glmtts_queued") == 3, "the queue to be full")
    answer = say(server)
    assert error(answer) == (429, "busy", None)
    assert int(answer.headers["Retry-After"]) >= 1
    assert server.metric("glmtts_rejections_total", reason="busy") >= 1
    running.close()
    for thread in waiting:
        thread.join()


@pytest.mark.parametrize("path", ["/tts", "/tts/stream", "/segments"])
def test_ssml(server: Server, path: str) -> None:
    """SSML that is not understood is a 400 that says what and where; a pause is heard and is part of the segment."""
    for wrong in ("<speak>Hello<audio/></speak>", "<speak>Hello", "<!DOCTYPE speak><speak>Hello</speak>"):
        answer = requests.post(server.url + path, json={"text": wrong}, timeout=10)
        assert error(answer) == (400, "invalid_text", "text")
        assert "line 1, column " in answer.json()["error"]["message"]
    text = '<speak>Hello.<break time="2s"/></speak>'
    answer = requests.post(
        server.url + path, json={"text": text, **({"format": "pcm"} if "tts" in path else {})}, timeout=10
    )
    if path == "/segments":
        assert answer.json()["segments"] == [{"index": 0, "text": 'Hello.<break time="2000ms"/>'}]
    else:
        rate = int(answer.headers["X-Sample-Rate"])
        assert len(answer.content) == 2 * round(2.6 * rate)
        assert not any(answer.content[-2 * 2 * rate :])


def test_info_segments_and_voices(server: Server) -> None:
    """The loaded model, with the metadata in Consul; the segments of a text; the stored voices."""
    info = requests.get(server.url + "/info", timeout=10).json()
    assert (info["model_version"], info["languages"], info["sample_rates"]) == ("fake-1", ["zh", "en"], [24000, 32000])
    assert info["metadata"]["language"] == "zh,en"
    assert info["voices"] == ["anna", "default"]
    segments = requests.post(server.url + "/segments", json={"text": TEXT}, timeout=10).json()
    assert segments == {"segments": [{"index": 0, "text": "Hello there."}, {"index": 1, "text": "How are you?"}]}
    assert error(requests.post(server.url + "/segments", json={"text": "🙂"}, timeout=10))[0] == 400
    listed = requests.get(server.url + "/voices", timeout=10).json()
    assert [voice["name"] for voice in listed["voices"]] == ["anna", "default"]
    anna = requests.get(server.url + "/voices/anna", timeout=10).json()
    by_hand = {"calm": {"consent": "", "created_at": "", "updated_at": ""}}
    expected = {"name": "anna", "language": "zh", "styles": {"calm": "Slowly."}, "default_style": "calm"}
    assert anna == {**expected, "read_only": False, "recordings": by_hand}


def test_pronunciation_of_segments(server: Server) -> None:
    """On request each segment has its characters or words with what will be said."""
    body = {"text": "Hi. 你。", "pronunciation": True, "language": "zh", "voice": "anna"}
    first, second = requests.post(server.url + "/segments", json=body, timeout=10).json()["segments"]
    assert first == {"index": 0, "text": "Hi.", "pronunciation": [["H", "H"], ["i", "i"]]}
    assert second == {"index": 1, "text": "你。", "pronunciation": [["你", "你"]]}
    unknown = requests.post(server.url + "/segments", json={**body, "voice": "nobody"}, timeout=10)
    assert error(unknown) == (404, "unknown_voice", "voice")


def test_other_languages_are_skipped_and_counted(server: Server) -> None:
    """Characters of other languages are left out and counted; a text of nothing else is refused."""
    mixed = "Hello 안녕. Привет!"
    answer = say(server, text=mixed)
    assert answer.headers["X-Skipped-Characters"] == "8"
    record = requests.get(f"{server.url}/requests/{answer.headers['X-Request-Id']}", timeout=10).json()
    assert (record["characters"], record["skipped_characters"]) == (len(mixed), 8)
    assert say(server, text=TEXT).headers["X-Skipped-Characters"] == "0"
    segments = requests.post(server.url + "/segments", json={"text": mixed}, timeout=10)
    assert segments.headers["X-Skipped-Characters"] == "8"
    assert "안" not in segments.text
    for route in ("/tts", "/tts/stream", "/segments"):
        alone = requests.post(server.url + route, json={"text": "안녕하세요"}, timeout=10)
        assert error(alone) == (400, "unsupported_language", "text")


def test_the_basic_series_exist(server: Server) -> None:
    """Prometheus finds what the alerts and the dashboard need."""
    say(server)
    text = requests.get(server.url + "/metrics", timeout=10).text
    for series in ("requests_total", "in_flight", "queued", "queue_seconds_count", "first_audio_seconds_count",
                   "real_time_factor_count", "audio_seconds_total", "rejections_total", "build_info", "ready",
                   "consul_state"):  # fmt: skip
        assert f"glmtts_{series}" in text
    assert server.metric("glmtts_ready") == 1
    assert server.metric("glmtts_build_info", model_version="fake-1") == 1


def test_api_keys(voices: Path, tmp_path: Path) -> None:
    """Without a key or with a wrong one 401, without the scope 403; probes need none; a new key works at once."""
    path = tmp_path / "keys.yaml"
    speak = add_key(path, "speaker", ["speak"])
    with Server(voices=voices, env={"GLMTTS_API_KEYS_FILE": str(path)}) as server:
        url, body = server.url + "/tts", {"text": TEXT}

        def tts(**headers: str) -> requests.Response:
            return requests.post(url, json=body, headers={**headers}, timeout=60)

        assert error(tts()) == (401, "missing_api_key", None)
        assert error(tts(Authorization="Bearer ")) == (401, "missing_api_key", None)
        assert error(tts(Authorization="Bearer wrong")) == (401, "invalid_api_key", None)
        mine = tts(Authorization=f"Bearer {speak}")
        assert mine.status_code == requests.post(url, json=body, headers={"X-API-Key": speak}, timeout=60).status_code
        assert [server.status(path) for path in ("/health", "/ready", "/metrics", "/info")] == [200, 200, 200, 401]
        drain = server.url + "/admin/drain"
        assert error(requests.post(drain, headers={"X-API-Key": speak}, timeout=9)) == (403, "insufficient_scope", None)
        admin = add_key(path, "operator", ["admin"])
        other = requests.post(f"{drain}?node=another", headers={"X-API-Key": admin}, timeout=9)
        assert error(other) == (409, "another_node", "node")
        own = requests.post(f"{drain}?node={mine.headers['X-Node']}", headers={"X-API-Key": admin}, timeout=9)
        assert (own.status_code, own.json()["node"]) == (202, mine.headers["X-Node"])
        assert server.process.wait(60) == 0
        [line] = [line for line in server.log("request") if line["request_id"] == mine.headers["X-Request-Id"]]
        assert line["key"] == "speaker"
        assert not any(speak in line for line in server.lines)
