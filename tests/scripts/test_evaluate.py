"""The evaluation of a checkpoint, on two sentences of one voice."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import soundfile

from tests.helpers.server import ROOT


def test_what_was_asked_heard_and_judged_is_written_down(tmp_path: Path) -> None:
    """A figure for every column whose judge is installed, a row and a sound file for every sentence."""
    out, sounds = tmp_path / "result.json", tmp_path / "sounds"
    options = ["--sentences", "2", "--voices", "hibari", "--threads", "1", "--work", str(ROOT / ".tools")]
    command = [sys.executable, "-m", "scripts.evaluate", *options, "--json", str(out), "--out", str(sounds)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(out.read_text(encoding="utf-8"))
    figures = result["figures"]["en hibari"]
    assert figures["sentences"] == 2
    assert figures["error"] < 0.7, [row["heard"] for row in result["rows"]]
    assert figures["silent"] == figures["cut_at_the_maximum"] == 0
    judged = find_spec("resemblyzer") is not None and find_spec("speechmos") is not None
    assert (figures["likeness"] is not None) == (figures["dnsmos"] is not None) == judged
    lengths = [soundfile.info(file).duration for file in sorted(sounds.iterdir())]
    assert lengths == [pytest.approx(row["seconds"], abs=0.1) for row in result["rows"]]
    assert "en hibari" in done.stdout
