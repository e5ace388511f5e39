"""Several texts in one request, over real HTTP."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import requests

from tests.helpers.server import Server, wait_until

ROUTE = "/v1/audio/speech/batch"


def speak(server: Server, **fields: Any) -> requests.Response:
    return requests.post(server.url + "/v1/audio/speech/batch", json=fields, timeout=60)


def test_items_come_back_in_order(server: Server) -> None:
    """Each as it would be alone, with the fields of the batch unless it has its own; a failure fails alone."""
    items: list[dict[str, Any]] = [
        {"input": "Hello there."},
        {"input": "你好！", "voice": "anna", "response_format": "flac", "stream_format": "sse"},
        {"input": "…"},
        {"input": "FAULT-MEMORY."},
        {"input": "Hello again, and again.", "seed": 4, "speed": None},
    ]
    answer = speak(server, items=items, response_format="wav", voice="alloy", seed=3, model="x", stream=True)
    assert answer.status_code == 200, answer.text
    batch = answer.json()
    assert (batch["total"], batch["succeeded"], batch["failed"]) == (5, 3, 2)
    assert batch["id"].startswith("speech-batch-")
    results = batch["results"]
    assert [result["index"] for result in results] == list(range(5))
    assert [result["status"] for result in results] == ["success", "success", "error", "error", "success"]
    assert results[2]["error"].startswith("input: ")
    assert [results[index]["media_type"] for index in (0, 1, 4)] == ["audio/wav", "audio/flac", "audio/wav"]
    alone = {"input": "Hello there.", "voice": "alloy", "seed": 3, "response_format": "wav", "stream": False}
    expected = requests.post(server.url + "/v1/audio/speech", json=alone, timeout=60).content
    assert base64.b64decode(results[0]["audio_data"]) == expected
    assert results[0]["usage"]["total_tokens"] > 0


@pytest.mark.parametrize(
    "items",
    [None, [], {}, ["text"], [{"input": "a"}] * 33, [{"input": "a" * 5000}] * 5],
    ids=lambda items: str(items)[:20],
)
def test_a_batch_has_bounds(server: Server, items: Any) -> None:
    """Of items, and of characters: all the audio is in memory at once."""
    answer = speak(server, items=items)
    assert (answer.status_code, answer.json()["error"]["param"].partition(".")[0]) == (400, "items")


@pytest.mark.slow
def test_a_client_that_leaves_stops_its_batch(server: Server) -> None:
    """What has begun ends; the rest never begins."""
    before = server.metric("glmtts_requests_total", route="/v1/audio/speech", status="200")
    url, body = server.url + "/v1/audio/speech/batch", {"items": [{"input": "a" * 300}] * 32}
    with pytest.raises(requests.exceptions.ReadTimeout):
        requests.post(url, json=body, timeout=1.0)
    wait_until(lambda: server.metric("glmtts_in_flight") == 0, "the items that had begun")
    wait_until(lambda: server.metric("glmtts_requests_total", route=ROUTE, status="499") >= 1, "the batch's end")
    assert server.metric("glmtts_requests_total", route="/v1/audio/speech", status="200") - before < 20
