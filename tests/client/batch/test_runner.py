"""Batches over real nodes, as the command that a user types: nodes die, the batch dies, and each item is made once."""

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

COUNT = 30


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Items whose sound is decided: each has a seed."""
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


def begin(agent: Agent, *arguments: str | Path) -> subprocess.Popen[str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("GLMTTS_", "CONSUL_"))}
    own["PYTHONPATH"] = str(ROOT / "client")
    return subprocess.Popen(
        command(agent, "batch", *arguments), env=own, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def results(folder: Path) -> list[dict[str, Any]]:
    file = folder / "results.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def sums(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.glob("*.wav")}


@pytest.fixture(scope="module")
def undisturbed(voices: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a node of its own makes of the items."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with Server("fake:", voices=voices) as server, Cluster(urls=[server.url]) as cluster:
        for n in range(COUNT):
            audio = cluster.synthesize(f"This is the item with number {n}.", SpeechOptions(seed=n)).audio
            (folder / f"item-{n}.wav").write_bytes(audio)
    return sums(folder)


def test_a_batch_survives_the_death_of_a_node(
    agent: Agent, cluster_nodes: list[Server], source: Path, tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    """SIGKILL in mid-batch: nothing lost, nothing made twice, and each file is what it would have been."""
    out = tmp_path / "out"
    process = begin(agent, source, out, "--jobs", "6")
    eventually(lambda: len(results(out)) >= 6, within=60)
    kill(cluster_nodes[0])
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert f"{COUNT} made, 0 finished before, 0 failed" in errors
    noted = results(out)
    assert Counter(line["id"] for line in noted) == Counter(f"item-{n}" for n in range(COUNT))
    assert all(line["error"] is None and line["audio_seconds"] > 2 and line["rtf"] > 0 for line in noted)
    assert max(line["attempts"] for line in noted) > 1
    assert len({line["node"] for line in noted}) == 3
    assert sums(out) == undisturbed


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_batch_that_dies_goes_on_where_it_was(
    agent: Agent,
    cluster_nodes: list[Server],
    source: Path,
    tmp_path: Path,
    undisturbed: dict[str, str],
    how: signal.Signals,
) -> None:
    """What was finished is not made again, what was not is; interrupted in order, it says so by its exit code."""
    out = tmp_path / "out"
    process = begin(agent, source, out, "--jobs", "4")
    eventually(lambda: len(results(out)) >= 6, within=60)
    process.send_signal(how)
    process.communicate(timeout=60)
    assert process.returncode == (130 if how is signal.SIGINT else -signal.SIGKILL)
    before = len(results(out))
    assert 6 <= before < COUNT
    again = begin(agent, source, out, "--jobs", "4", "--json")
    printed, errors = again.communicate(timeout=120)
    assert again.returncode == 0, errors
    assert f"{COUNT - before} made, {before} finished before, 0 failed" in errors
    fresh = {line["id"]: line for line in results(out)[before:]}
    assert {line["id"]: line for line in map(json.loads, printed.splitlines())} == fresh
    assert Counter(line["id"] for line in results(out)) == Counter(f"item-{n}" for n in range(COUNT))
    assert sums(out) == undisturbed
    assert [file.name for file in out.iterdir() if file.suffix == ".part"] == []


def test_what_fails_is_noted_and_the_rest_is_made(agent: Agent, cluster_nodes: list[Server], tmp_path: Path) -> None:
    """Exit code 1 while any item fails; corrected and started again, only that one is made."""
    source, out = tmp_path / "in.jsonl", tmp_path / "out"
    good = '{"id": "good", "text": "Hello."}\n'
    source.write_text(good + '{"id": "bad", "text": "🙂"}\nno json\n')
    process = begin(agent, source, out)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "bad: 400 invalid_text" in errors
    assert "1 made, 0 finished before, 2 failed" in errors
    noted = {line["id"]: line["error"] for line in results(out)}
    assert set(noted) == {"good", "bad", "line-3"}
    assert noted["good"] is None
    source.write_text(good + '{"id": "bad", "text": "Not bad."}\n')
    process = begin(agent, source, out)
    assert "1 made, 1 finished before, 0 failed" in process.communicate(timeout=60)[1]
    assert process.returncode == 0


def test_a_batch_waits_for_a_node(agent: Agent, start: Any, tmp_path: Path) -> None:
    """Begun before there is one, it is done when there is."""
    source = tmp_path / "in.jsonl"
    source.write_text('{"text": "Hello."}\n')
    with Cluster(agent.address, cache_seconds=0.0) as cluster:
        assert cluster.nodes() == []
        started = []

        def first_item() -> Any:
            # By now the batch is running.
            yield from read_items(source)
            started.extend(start("fake:"))

        summary = run_batch(cluster, first_item(), tmp_path / "out", jobs=2)
    assert started
    assert (summary.done, summary.failed) == (1, 0)
