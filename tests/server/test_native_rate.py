"""Speech at 32 kHz, made by a vocoder of that rate: a node with a stand-in for it beside one without.

The checkpoint brings no voices, as the published one: the built-in ones speak.
"""

from __future__ import annotations

import base64
import hashlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
import soundfile
import torch
from glmtts_client import Cluster, Query, SpeechOptions
from torch import Tensor, nn

from scripts.processes import free_ports
from server.voices.builtin_voices import BUILTIN_VOICES
from tests.helpers.consul import Agent, eventually, running_agent
from tests.helpers.server import Server
from tests.helpers.tiny_checkpoint import write_tiny_checkpoint

pytestmark = pytest.mark.processes

LEVEL = 0.5


class Constant(nn.Module):
    """640 samples of LEVEL for each frame: no other vocoder and no resampler makes that."""

    def forward(self, mel_btc: Tensor) -> Tensor:
        return torch.full((mel_btc.shape[0], 640 * mel_btc.shape[1]), 0.5)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A checkpoint with a vocoder of 32 kHz, and its hash."""
    folder = write_tiny_checkpoint(tmp_path_factory.mktemp("rates") / "tiny")
    file = folder / "vocos2d" / "generator_jit.ckpt"
    file.parent.mkdir()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit.(script|save)` is deprecated")
        torch.jit.save(torch.jit.script(Constant()), file)
    return folder, hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """Consul; a node of 24 kHz, at which nobody answers, is registered in it."""
    with running_agent(tmp_path_factory.mktemp("consul")) as agent:
        other = {"Name": "glm-tts", "ID": "other", "Address": "127.0.0.1", "Port": free_ports(1)[0]}
        agent.call(
            "PUT", "/v1/agent/service/register", {**other, "Meta": {"sample_rate": "24000", "language": "zh,en"}}
        )
        yield agent


@pytest.fixture(scope="module")
def server(agent: Agent, checkpoint: tuple[Path, str]) -> Iterator[Server]:
    folder, digest = checkpoint
    env = {
        "GLMTTS_VOCOS_SHA256": digest,
        "GLMTTS_CONSUL": "on",
        "CONSUL_HTTP_ADDR": agent.address,
        "GLMTTS_LOOPBACK_CLUSTER": "on",
        "GLMTTS_NODE_NAME": "here",
        "GLMTTS_HEALTH_INTERVAL": "1",
    }
    with Server(str(folder), env=env) as server:
        eventually(lambda: f"glm-tts-here-{server.port}" in agent.passing(), within=90)
        yield server


def test_a_node_says_which_rates_it_makes(server: Server, agent: Agent) -> None:
    """In /info, in Consul's metadata and in its tags."""
    info = requests.get(server.url + "/info", timeout=10).json()
    assert info["sample_rates"] == [24000, 32000]
    assert info["metadata"]["sample_rate"] == "24000,32000"
    service = agent.listed()[f"glm-tts-here-{server.port}"]["Service"]
    assert service["Meta"] == info["metadata"]
    assert {"sr-24000", "sr-32000"} <= set(service["Tags"])


def test_without_thresholds_nothing_is_dropped(server: Server) -> None:
    """/info says that there are none, and a recording prompts with whatever text it comes with."""
    assert requests.get(server.url + "/info", timeout=10).json()["calibrated"] is False
    audio = base64.b64encode((BUILTIN_VOICES / "michael" / "neutral.flac").read_bytes()).decode()
    body = {"text": "Hello.", "reference_audio": audio, "reference_text": "Another text. " * 20, "seed": 1}
    answer = requests.post(server.url + "/tts", json=body, timeout=120)
    assert answer.status_code == 200
    record = requests.get(f"{server.url}/requests/{answer.headers['X-Request-Id']}", timeout=10).json()
    assert (record["prompted"], record["redraws"]) == (True, 0)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/tts", {"text": "Hello there."}),
        ("/tts/stream", {"text": "Hello there.", "format": "wav"}),
        ("/v1/audio/speech", {"input": "Hello there.", "response_format": "wav"}),
    ],
)
def test_speech_at_32_khz_is_what_that_vocoder_makes(server: Server, path: str, body: dict[str, str]) -> None:
    """Whole and in chunks, with the rate in header and file; at 24 kHz the other vocoder speaks."""
    waves = {}
    for rate in (32000, 24000):
        answer = requests.post(server.url + path, json={**body, "seed": 1, "sample_rate": rate}, timeout=120)
        assert answer.status_code == 200, answer.text
        waves[rate], written = soundfile.read(io.BytesIO(answer.content))
        assert (int(answer.headers["X-Sample-Rate"]), written) == (rate, rate)
    np.testing.assert_allclose(waves[32000], LEVEL, atol=1e-3)
    assert not np.allclose(waves[24000], LEVEL, atol=1e-1)
    assert len(waves[32000]) / 32000 == pytest.approx(len(waves[24000]) / 24000, abs=0.01)


def test_clients_choose_nodes_by_rate(server: Server, agent: Agent) -> None:
    """Of two nodes only the one that makes 32 kHz gets such a request, every time."""
    cluster = Cluster(agent.address, query=Query(sample_rate=32000))
    assert {node.sample_rates for node in cluster.nodes()} == {frozenset({24000, 32000})}
    assert {node.id for node in Cluster(agent.address).nodes()} == {"other", f"glm-tts-here-{server.port}"}
    for seed in range(3):
        speech = cluster.synthesize("Hello.", SpeechOptions(sample_rate=32000, seed=seed, format="pcm"))
        assert speech.sample_rate == 32000
        np.testing.assert_allclose(np.frombuffer(speech.audio, "<i2") / 32768, LEVEL, atol=1e-3)
