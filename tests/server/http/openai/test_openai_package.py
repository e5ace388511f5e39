"""The `openai` package, unchanged, against this server: an address and a key are all that it is given."""

from __future__ import annotations

import base64
import json
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import openai
import pytest
import requests

from server.http.encoding import available_formats
from tests.helpers.server import Server, wait_until

TEXT = "Hello there. How are you?"
SECONDS = 0.1 * (len(TEXT) - 1)


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.url + "/v1", api_key="none") as client:
        yield client


def seconds_of(audio: bytes, fmt: str) -> float:
    """Length of the audio as ffmpeg decodes it; `pcm` needs no decoder and is played at 24 kHz."""
    if fmt != "pcm":
        command = ["ffmpeg", "-v", "error", "-i", "-", "-f", "s16le", "-ar", "24000", "-ac", "1", "-"]
        audio = subprocess.run(command, input=audio, capture_output=True, check=True).stdout
    return len(audio) / 2 / 24000


def requests_of(server: Server, code: str) -> int:
    """How many requests in the log ended in an error."""
    return sum(entry.get("error") == code for entry in server.log("request"))


@pytest.mark.parametrize("fmt", available_formats())
def test_a_whole_file(client: openai.OpenAI, fmt: Any) -> None:
    """In each format, with a voice that the package knows by name."""
    speech = client.audio.speech.create(input=TEXT, model="tts-1", voice="alloy", response_format=fmt)
    assert seconds_of(speech.content, fmt) == pytest.approx(SECONDS, abs=0.1)


def test_the_format_of_a_request_that_names_none(client: openai.OpenAI) -> None:
    """Is what the package's users expect under that content type."""
    speech = client.audio.speech.create(input=TEXT, model="gpt-4o-mini-tts", voice="coral", instructions="Be happy.")
    assert speech.response.headers["X-Instructions"] in ("style=happy", "unused")
    assert seconds_of(speech.content, "mp3") == pytest.approx(SECONDS, abs=0.1)


def test_a_stream(client: openai.OpenAI) -> None:
    """Arrives in pieces, while the rest is being made."""
    create = client.audio.speech.with_streaming_response.create
    with create(input="a" * 200, model="tts-1", voice="alloy", response_format="pcm") as stream:
        pieces = list(stream.iter_bytes())
    assert len(pieces) > 1
    assert len(b"".join(pieces)) == pytest.approx(20 * 24000 * 2, rel=0.01)


def test_events_read_by_hand(client: openai.OpenAI) -> None:
    """The package leaves their reading to its users."""
    create = client.audio.speech.with_streaming_response.create
    with create(input=TEXT, model="x", voice="ash", response_format="pcm", stream_format="sse", speed=1.0) as stream:
        assert stream.headers["content-type"] == "text/event-stream"
        *others, done = [json.loads(line[6:]) for line in stream.iter_lines() if line.startswith("data: ")]
    deltas = [event for event in others if event["type"] == "speech.audio.delta"]
    assert seconds_of(b"".join(base64.b64decode(event["audio"]) for event in deltas), "pcm") == pytest.approx(SECONDS)
    assert done["type"] == "speech.audio.done"


def test_fields_of_our_own(client: openai.OpenAI) -> None:
    """Through `extra_body`."""
    own = {"seed": 5, "sample_rate": 16000, "style": "happy"}
    speech = client.audio.speech.create(
        input=TEXT, model="tts-1", voice={"id": "default"}, response_format="pcm", extra_body=own
    )
    assert (speech.response.headers["X-Seed"], speech.response.headers["X-Sample-Rate"]) == ("5", "16000")


def test_models(client: openai.OpenAI) -> None:
    """The list, and one of it."""
    ids = [model.id for model in client.models.list()]
    assert client.models.retrieve(ids[0]).id == "fake"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nothing")


def test_errors_are_those_of_the_package(client: openai.OpenAI, server: Server) -> None:
    """With message, param, code and the request's id; what fails again is not tried again."""
    with pytest.raises(openai.BadRequestError, match="expected a stored voice") as unknown:
        client.audio.speech.create(input=TEXT, model="tts-1", voice="nobody")
    assert (unknown.value.param, unknown.value.code) == ("voice", "unknown_voice")
    assert unknown.value.request_id
    with pytest.raises(openai.BadRequestError) as mute:
        client.audio.speech.create(input="…!", model="tts-1", voice="alloy")
    assert (mute.value.type, mute.value.param) == ("invalid_request_error", "input")
    earlier = requests_of(server, "device_memory")
    with pytest.raises(openai.InternalServerError):
        client.audio.speech.create(input="FAULT-MEMORY.", model="tts-1", voice="alloy")
    wait_until(lambda: requests_of(server, "device_memory") > earlier, "the log line")
    assert requests_of(server, "device_memory") == earlier + 1


def test_the_package_waits_for_a_full_server(client: openai.OpenAI, server: Server) -> None:
    """It obeys Retry-After, and then succeeds without its user noticing."""
    url = server.url + "/v1/audio/speech"
    running = requests.post(url, json={"input": "a" * 2000}, stream=True, timeout=60)
    waiting = [threading.Thread(target=requests.post, args=(url,), kwargs={"json": {"input": "Hi."}}) for _ in range(3)]
    for thread in waiting:
        thread.start()
    wait_until(lambda: server.metric("glmtts_queued") == 3, "the queue to be full")
    earlier = server.metric("glmtts_rejections_total", reason="busy")
    threading.Timer(0.5, running.close).start()
    speech = client.audio.speech.create(input="Hi.", model="tts-1", voice="alloy", response_format="pcm")
    assert speech.content
    assert server.metric("glmtts_rejections_total", reason="busy") > earlier
    for thread in waiting:
        thread.join()
