"""The batch command over real nodes: nodes crash, the batch crashes, and each item is made once."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from glmtts_client import Cluster, SpeechOptions
from glmtts_client.batch.items import read_items
from glmtts_client.batch.runner import run_batch

from tests.client.conftest import CLUSTER_SERVICE, kill
from tests.helpers.consul import ROOT, Agent, eventually
from tests.helpers.server import Server

pytestmark = pytest.mark.processes

COUNT = 30


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Items with seeds, so that their audio is reproducible."""
    lines = [{"id": f"item-{n}", "text": f"This is the item with number {n}.", "seed": n} for n in range(COUNT)]
    file = tmp_path / "in.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    return file


def command(agent: Agent, *arguments: str | Path) -> list[str]:
    return [
        sys.executable,
        "-m",
        "glmtts_client",
        "--consul",
        agent.address,
        "--service",
        CLUSTER_SERVICE,
        *map(str, arguments),
    ]


def start_batch(agent: Agent, *arguments: str | Path) -> subprocess.Popen[str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("GLMTTS_", "CONSUL_"))}
    own["PYTHONPATH"] = str(ROOT / "client")
    return subprocess.Popen(
        command(agent, "batch", *arguments), env=own, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def results(folder: Path) -> list[dict[str, Any]]:
    file = folder / "results.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def checksums(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.glob("*.wav")}


@pytest.fixture(scope="module")
def undisturbed(voices: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The checksums of the items, from a separate node."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with Server("fake:", voices=voices) as server, Cluster(urls=[server.url]) as cluster:
        for n in range(COUNT):
            audio = cluster.synthesize(f"This is the item with number {n}.", SpeechOptions(seed=n)).audio
            (folder / f"item-{n}.wav").write_bytes(audio)
    return checksums(folder)


def test_a_node_crash(
    agent: Agent, cluster_nodes: list[Server], source: Path, tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    """SIGKILL in the middle of a batch: no item is lost or made twice, and each file is unchanged."""
    out = tmp_path / "out"
    process = start_batch(agent, source, out, "--jobs", "6")
    eventually(lambda: len(results(out)) >= 6, within=60)
    kill(cluster_nodes[0])
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert f"{COUNT} done, 0 skipped, 0 failed" in errors
    recorded = results(out)
    assert Counter(line["id"] for line in recorded) == Counter(f"item-{n}" for n in range(COUNT))
    assert all(line["error"] is None and line["audio_seconds"] > 2 and line["rtf"] > 0 for line in recorded)
    assert max(line["attempts"] for line in recorded) > 1
    assert len({line["node"] for line in recorded}) == 3
    assert checksums(out) == undisturbed


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_batch_resumes(
    agent: Agent,
    cluster_nodes: list[Server],
    source: Path,
    tmp_path: Path,
    undisturbed: dict[str, str],
    signal_number: signal.Signals,
) -> None:
    """Only unfinished items are made again; an interrupted batch has its own exit code."""
    out = tmp_path / "out"
    process = start_batch(agent, source, out, "--jobs", "4")
    eventually(lambda: len(results(out)) >= 6, within=60)
    process.send_signal(signal_number)
    process.communicate(timeout=60)
    assert process.returncode == (130 if signal_number is signal.SIGINT else -signal.SIGKILL)
    before = len(results(out))
    assert 6 <= before < COUNT
    second = start_batch(agent, source, out, "--jobs", "4", "--json")
    printed, errors = second.communicate(timeout=120)
    assert second.returncode == 0, errors
    assert f"{COUNT - before} done, {before} skipped, 0 failed" in errors
    fresh = {line["id"]: line for line in results(out)[before:]}
    assert {line["id"]: line for line in map(json.loads, printed.splitlines())} == fresh
    assert Counter(line["id"] for line in results(out)) == Counter(f"item-{n}" for n in range(COUNT))
    assert checksums(out) == undisturbed
    assert [file.name for file in out.iterdir() if file.suffix == ".part"] == []


def test_failed_items(agent: Agent, cluster_nodes: list[Server], tmp_path: Path) -> None:
    """The exit code is 1 if any item fails; after a correction only that item is made."""
    source, out = tmp_path / "in.jsonl", tmp_path / "out"
    good = '{"id": "good", "text": "Hello."}\n'
    source.write_text(good + '{"id": "bad", "text": "🙂"}\nno json\n')
    process = start_batch(agent, source, out)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "bad: 400 invalid_text" in errors
    assert "1 done, 0 skipped, 2 failed" in errors
    recorded = {line["id"]: line["error"] for line in results(out)}
    assert set(recorded) == {"good", "bad", "line-3"}
    assert recorded["good"] is None
    source.write_text(good + '{"id": "bad", "text": "Not bad."}\n')
    process = start_batch(agent, source, out)
    assert "1 done, 1 skipped, 0 failed" in process.communicate(timeout=60)[1]
    assert process.returncode == 0


def test_a_batch_waits_for_a_node(agent: Agent, start: Any, tmp_path: Path) -> None:
    """It may start before the first node does."""
    source = tmp_path / "in.jsonl"
    source.write_text('{"text": "Hello."}\n')
    with Cluster(agent.address, cache_seconds=0.0) as cluster:
        assert cluster.nodes() == []
        started = []

        def first_item() -> Any:
            # The batch is running now.
            yield from read_items(source)
            started.extend(start("fake:"))

        summary = run_batch(cluster, first_item(), tmp_path / "out", jobs=2)
    assert started
    assert (summary.done, summary.failed) == (1, 0)
