"""The scripts that put a server under load, in their quick modes, on the fake engine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.server import ROOT, Server, store_voice
from tests.helpers.tiny_checkpoint import write_tiny_checkpoint


def run(voices: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Runs a script with a stored voice `default`."""
    store_voice(voices, "default", {"neutral": "Hello."})
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, "GLMTTS_VOICES_DIR": str(voices)},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


@pytest.mark.load
def test_the_bench_measures_every_level_on_both_servers(tmp_path: Path) -> None:
    """A row for each level and server."""
    out = tmp_path / "bench.json"
    store_voice(tmp_path / "other", "default", {"neutral": "Hello."})
    with Server("fake:delay=0.02", voices=tmp_path / "other") as other:
        flags = ["--quick", "--checkpoint", "fake:delay=0.02", "--compare", other.url, "--json", str(out)]
        done = run(tmp_path / "voices", "scripts/bench.py", *flags)
    assert done.returncode == 0, done.stderr
    rows = json.loads(out.read_text(encoding="utf-8"))["rows"]
    assert [row["server"] == other.url for row in rows] == [False, True] * 2
    levels = [(row["concurrency"], row["requests"], row["rejected"]) for row in rows]
    assert levels == [(1, 2, 0), (1, 2, 0), (4, 4, 0), (4, 4, 0)]
    for row in rows:
        assert 0 < row["first_audio_p50"] <= row["first_audio_p95"]
        assert row["audio_per_second"] > 0
        assert row["peak_mib"] > 10
        assert str(row["concurrency"]) in done.stdout


@pytest.mark.slow
def test_the_stages_are_measured_against_the_roofline(tmp_path: Path) -> None:
    """Every stage of a checkpoint has a time and a bound, and a step of more rows has more operations."""
    checkpoint, out = write_tiny_checkpoint(tmp_path / "tiny"), tmp_path / "stages.json"
    flags = ["--quick", "--checkpoint", str(checkpoint), "--batches", "1", "4", "--json", str(out)]
    done = run(tmp_path / "voices", "scripts/benchmarks/stages.py", *flags)
    assert done.returncode == 0, done.stderr
    stages = {one["stage"]: one for one in json.loads(out.read_text(encoding="utf-8"))["stages"]}
    assert sorted(name.split(",")[0] for name in stages) == ["AR step"] * 2 + ["flow"] * 4 + ["vocoder"] * 4
    assert all(one["ms"] > 0 and one["bound"] > 0 and one["stage"] in done.stdout for one in stages.values())
    assert stages["AR step, 4 rows"]["arithmetic"] > stages["AR step, 1 rows"]["arithmetic"]


@pytest.mark.recogniser  # the script imports it
def test_chunks_of_both_designs_are_compared_with_the_whole(tmp_path: Path) -> None:
    """In each language: chunked speech is nearer to the whole than another sentence is, and its cost is reported."""
    ratios = {"min_ratio": 1.0, "max_ratio": 1.0}
    checkpoint, out = write_tiny_checkpoint(tmp_path / "tiny", generation=ratios), tmp_path / "chunks.json"
    flags = ["--checkpoint", str(checkpoint), "--sentences", "2", "--seconds", "4", "--json", str(out)]
    done = run(checkpoint / "voices", "-m", "scripts.benchmarks.chunks", "--lang", "en", "zh", *flags)
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text(encoding="utf-8"))
    assert list(result) == ["en", "zh"]
    for lang, figures in result.items():
        assert figures["sentences"] == 2
        for design in ("prompted", "cached"):
            assert 0 < figures[design]["mel_distance"] < figures["mel_distance_of_two_sentences"], (lang, design)
            assert figures[design]["joins"] > 0
            [cost] = figures[design]["costs"]
            assert cost["audio"] > 1
            assert cost["cpu_per_audio"] > 0


@pytest.mark.load
def test_health_is_probed_while_the_server_is_busy(tmp_path: Path) -> None:
    """With idle connections and running streams; the slowest probe is reported."""
    out = tmp_path / "health.json"
    flags = ["--checkpoint", "fake:delay=0.02", "--loads", "streams", "large", "--clients", "2", "--idle", "20"]
    done = run(tmp_path, "scripts/benchmarks/health.py", *flags, "--seconds", "1", "--json", str(out))
    assert done.returncode == 0, done.stderr
    rows = json.loads(out.read_text(encoding="utf-8"))
    assert [row["load"] for row in rows] == ["streams", "large"]
    for row in rows:
        assert 0 < row["p50"] <= row["p99"] <= row["max"]
        assert row["probes"] > 5


@pytest.mark.load
@pytest.mark.timeout(300)
def test_the_soak_finds_no_leaks(tmp_path: Path) -> None:
    """Bursts, disconnects, clones, stored voices and restarts of the agent leave no request, thread or file behind."""
    done = run(tmp_path, "scripts/soak.py", "--quick")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok  still serves" in done.stdout
    assert "disconnected" in done.stdout
    assert "bad request 400" in done.stdout
    assert "clone 200" in done.stdout
    assert "stored voice 200" in done.stdout
    assert "ok  discovered" in done.stdout


@pytest.mark.load
def test_a_series_reads_the_memory(tmp_path: Path) -> None:
    """After each tenth, at rest."""
    done = run(tmp_path, "scripts/soak.py", "--series", "texts", "--count", "10", "--checkpoint", "fake:")
    assert "ok  10 of 10 requests succeeded" in done.stdout, done.stdout + done.stderr
    assert done.stdout.count(" texts ") >= 10
