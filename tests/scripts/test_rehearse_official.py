"""The published checkpoint's stand-in, narrow, from its files to speech over HTTP, as a command."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.server import ROOT


@pytest.mark.processes
def test_a_narrow_stand_in_speaks_by_all_routes(tmp_path: Path) -> None:
    """Its table has the seconds of each part and the peak memory; its last line, what was loaded and spoken."""
    command = [sys.executable, "scripts/rehearse_official.py", "--quick", "--device", "cpu", "--folder", str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    *table, last = run.stdout.splitlines()
    match = re.fullmatch(
        r"rehearsed: (\d+) parameters, (\d+) bytes, ([\d.]+) s of audio by /tts, /tts/stream, /v1/audio/speech", last
    )
    assert match is not None, last
    assert int(match[2]) > int(match[1]) > 10_000_000
    seconds = [float(value) for line in table for value in re.findall(r"([\d.]+) s of audio", line)]
    assert len(seconds) == 3
    assert sum(seconds) == pytest.approx(float(match[3]), abs=0.1)
    parts = {line.split("|")[1].strip() for line in table[2:]}
    assert {"of the start: llm", "of the start: warm-up", "start to ready", "/tts/stream"} <= parts
    assert all(re.fullmatch(r" [\d.]+ GB ", line.split("|")[3]) for line in table[3:])
    assert list(tmp_path.iterdir()) == []
