"""The program with the real engine on a tiny checkpoint: its metrics and traces, and its log at startup."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.helpers.otlp import Receiver, running_receiver
from tests.helpers.server import Server, recording, store_voice, wait_until
from tests.helpers.tiny_checkpoint import write_tiny_checkpoint

pytestmark = pytest.mark.processes

STAGES = ("text", "voice", "prefill", "decode", "flow", "vocoder", "send")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_tiny_checkpoint(tmp_path_factory.mktemp("real") / "tiny")
    store_voice(folder / "voices", "default", {"neutral": "Hello."})
    store_voice(folder / "voices", "anna", {"neutral": "Hello."}, language="zh")
    return folder


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with running_receiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def server(tiny: Path, receiver: Receiver) -> Iterator[Server]:
    own = {"GLMTTS_OTLP_ENDPOINT": receiver.url, "OTEL_BSP_SCHEDULE_DELAY": "100", "GLMTTS_MAX_NUM_SEQS": "4"}
    with Server(str(tiny), env=own) as server:
        yield server


def say(server: Server, request_id: str) -> requests.Response:
    body = {"text": "Hello there, old friend.", "seed": 1, "format": "pcm"}
    return requests.post(server.url + "/tts/stream", json=body, headers={"X-Request-Id": request_id}, timeout=120)


def test_memory_is_logged_at_startup(server: Server) -> None:
    """The log has the sizes of weights, slots and voices; /metrics has their sum."""
    messages = [json.loads(line)["message"] for line in list(server.lines)]
    [line] = [message for message in messages if message.startswith("Memory on cpu")]
    assert "KV cache of 4 slots" in line
    parts = [int(size) for size in re.findall(r"(\d+) MiB", line)]
    assert server.metric("glmtts_engine_reserved_bytes") == pytest.approx(sum(parts) * 2**20, abs=len(parts) * 2**19)
    assert server.metric("glmtts_kv_slots") == 4


def test_a_request_is_counted_in_every_stage(server: Server) -> None:
    """Each stage once; also its tokens, the rows of its steps, and its voice prompt in the cache."""
    before = {stage: server.metric("glmtts_stage_seconds_count", stage=stage) for stage in STAGES}
    tokens, misses = (
        server.metric("glmtts_speech_tokens_total"),
        server.metric("glmtts_voice_prompt_cache_misses_total"),
    )
    flow, steps = server.metric("glmtts_flow_step_rows_count"), server.metric("glmtts_decode_step_rows_sum")
    answer = say(server, "first")
    assert answer.status_code == 200
    wait_until(lambda: server.metric("glmtts_requests_total", route="/tts/stream", status="200") == 1, "the count")
    assert {stage: server.metric("glmtts_stage_seconds_count", stage=stage) for stage in STAGES} == {
        stage: count + 1 for stage, count in before.items()
    }
    generated = server.metric("glmtts_speech_tokens_total") - tokens
    assert generated == len(answer.content) / 2 / 24000 * 25
    assert server.metric("glmtts_decode_step_rows_sum") - steps >= generated
    assert server.metric("glmtts_flow_step_rows_count") > flow
    assert server.metric("glmtts_voice_prompt_cache_misses_total") == misses + 1
    assert server.metric("glmtts_voice_prompt_cache_bytes") > 0
    assert server.metric("glmtts_engine_realtime_ratio") > 0
    hits = server.metric("glmtts_voice_prompt_cache_hits_total")
    assert say(server, "again").content == answer.content
    assert server.metric("glmtts_voice_prompt_cache_hits_total") == hits + 1


@pytest.mark.parametrize(
    ("fields", "spoken"),
    [
        ({}, "ten o'clock."),
        ({"voice": "anna"}, "十点。"),
        ({"language": "zh"}, "十点。"),
        ({"voice": "anna", "language": "en"}, "ten o'clock."),
    ],
)
def test_the_language_of_a_text_without_letters(server: Server, fields: dict[str, str], spoken: str) -> None:
    """It is that of the voice, unless the request gives one; /tts says the same as /segments."""
    body = {"text": "10:00。", **fields}
    segments = requests.post(server.url + "/segments", json=body, timeout=30).json()["segments"]
    assert [segment["text"] for segment in segments] == [spoken]
    said = requests.post(server.url + "/tts", json={**body, "seed": 1, "format": "pcm"}, timeout=120)
    same = requests.post(
        server.url + "/tts", json={**body, "text": spoken, "segmented": True, "seed": 1, "format": "pcm"}, timeout=120
    )
    assert said.content == same.content != b""


def test_an_upload_has_the_language_of_its_text(server: Server) -> None:
    """A text without letters is read as Chinese if the reference text is; both routes agree."""
    audio = base64.b64encode(recording()).decode()
    body = {"text": "10:00", "reference_text": "你好", "seed": 1, "format": "pcm"}
    fields = {"text": "10:00", "reference_text": "你好"}
    segments = requests.post(server.url + "/segments", json=fields, timeout=30).json()["segments"]
    assert [segment["text"] for segment in segments] == ["十点。"]
    said = requests.post(server.url + "/tts", json={**body, "reference_audio": audio}, timeout=120)
    same = requests.post(server.url + "/tts", json={**body, "reference_audio": audio, "language": "zh"}, timeout=120)
    other = requests.post(server.url + "/tts", json={**body, "reference_audio": audio, "language": "en"}, timeout=120)
    assert said.content == same.content != other.content


def test_pronunciation(server: Server) -> None:
    """Pinyin of Chinese characters, with their tones."""
    body = {"text": "他长大了", "pronunciation": True}
    [segment] = requests.post(server.url + "/segments", json=body, timeout=30).json()["segments"]
    assert segment["pronunciation"] == [["他", "ta1"], ["长", "zhang3"], ["大", "da4"], ["了", "le5"]]


def test_an_unsupported_language_is_named(server: Server) -> None:
    """The error says what is spoken here."""
    answer = requests.post(server.url + "/tts", json={"text": "안녕하세요"}, timeout=30)
    assert answer.status_code == 400
    assert answer.json()["error"] == {
        "code": "unsupported_language",
        "message": "text: expected Chinese (zh) or English (en), got only Hangul",
        "field": "text",
    }


def test_a_trace_has_a_span_for_every_stage(server: Server, receiver: Receiver) -> None:
    """Queue, text, voice, prefill, decode, flow, vocoder, send: as the engine recorded them, all within the request."""
    say(server, "traced").raise_for_status()
    wait_until(lambda: receiver.trace("traced"), "the trace to arrive")
    spans = receiver.trace("traced")
    root = spans.pop("")
    assert set(spans) == {"queue", *STAGES}
    assert all(root.start - 10**6 <= span.start <= span.end <= root.end + 10**6 for span in spans.values())
    order = [spans[stage].start for stage in ("text", "voice", "queue", "prefill", "decode", "flow", "vocoder")]
    assert order == sorted(order)


def test_a_model_that_does_not_fit_is_refused_at_startup(tiny: Path) -> None:
    """The program ends, and its log has the size of each part and of the memory that there is."""
    server = Server(str(tiny), env={"GLMTTS_MAX_MEMORY_BYTES": str(2**20)})
    assert server.process.wait(240) != 0
    server.stop()
    [line] = server.log("Model failed to load")
    assert re.search(r"KV cache of 1 slots × \d+ positions \d+ MiB, .*: \d+ MiB, but cpu has 1 MiB", line["reason"])
