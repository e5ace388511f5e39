"""POST /segments under load: it is bounded, and others are served meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from server.worker_pool import MAX_WAITING
from tests.helpers.server import Server, store_voice, wait_until
from tests.helpers.tiny_checkpoint import write_tiny_checkpoint

pytestmark = pytest.mark.processes

SLOW_TEXT = "½?" * 2500
"""Of all shapes that were tried the one that takes longest to read: half a second."""
CLIENTS = 24


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = write_tiny_checkpoint(tmp_path_factory.mktemp("segments") / "tiny")
    store_voice(folder / "voices", "default", {"neutral": "Hello."})
    with Server(str(folder)) as server:
        yield server


def test_a_flood_is_refused(server: Server) -> None:
    """Texts beyond those that may wait get a 429 with the seconds to wait; speech and probes come in between."""

    def read(_index: int) -> requests.Response:
        return requests.post(server.url + "/segments", json={"text": SLOW_TEXT, "language": "zh"}, timeout=120)

    with ThreadPoolExecutor(CLIENTS) as clients:
        answers = [clients.submit(read, index) for index in range(CLIENTS)]
        wait_until(lambda: server.metric("glmtts_preparing_waiting", kind="segments") > 0, "a text to wait")
        assert requests.get(server.url + "/health", timeout=10).status_code == 200
        spoken = requests.post(server.url + "/tts", json={"text": "Hi.", "seed": 1}, timeout=60)
        assert spoken.status_code == 200
        responses = [answer.result() for answer in answers]
    statuses = sorted(response.status_code for response in responses)
    assert statuses.count(200) >= MAX_WAITING
    assert statuses.count(429) >= 1
    assert len(statuses) == statuses.count(200) + statuses.count(429)
    refused = next(response for response in responses if response.status_code == 429)
    assert refused.json()["error"]["code"] == "busy"
    assert int(refused.headers["Retry-After"]) >= 1
    assert server.metric("glmtts_preparing_waiting", kind="segments") == 0
    assert read(0).status_code == 200
