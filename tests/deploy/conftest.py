"""A cluster with a real Consul and a real Prometheus, after requests that succeeded, failed and were invalid."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pytest
import requests

from tests.helpers.local_cluster import LocalCluster, local_cluster
from tests.helpers.server import store_voice, wait_until

REQUESTS = [
    ("/tts", {"text": "Hello there."}),
    ("/tts/stream", {"text": "Hello there."}),
    ("/tts/stream", {"text": "FAULT-MEMORY."}),
    ("/tts/stream", {"text": "A LATE FAULT-ENGINE."}),
    ("/tts", {"text": ""}),
]


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    folder = tmp_path_factory.mktemp("cluster")
    store_voice(folder / "voices", "default", {"neutral": "This is me."})
    with local_cluster(folder, "--regions", "north,south", "--interval", "1s", voices=folder / "voices") as cluster:
        wait_until(lambda: len(cluster.query('up{job="glmtts", consul_health="passing"} == 1')) == 2, "both nodes")
        wait_until(lambda: cluster.query('up{job="consul"} == 1'), "the agent")
        for port in cluster.nodes:
            for path, body in REQUESTS:
                with suppress(requests.exceptions.ChunkedEncodingError):  # the response that is cut short
                    requests.post(f"http://127.0.0.1:{port}{path}", json=body, timeout=60)
        yield cluster
