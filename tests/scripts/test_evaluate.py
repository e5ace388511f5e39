"""The evaluation of a checkpoint, on a few texts of each kind in one voice."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import soundfile

from scripts.nano.sentences import held_out
from tests.helpers.server import ROOT

pytest.importorskip("faster_whisper", reason="needs the extra eval")

ROWS = ["words", "sentences", "paragraphs", "long-prompts", "speed 0.7", "speed 1.6", "speed 2"]


@pytest.mark.recogniser
def test_every_kind_has_a_row_and_every_text_its_figures(tmp_path: Path) -> None:
    """A figure in every column whose metric is installed; a transcript and a sound file for every text."""
    out, sounds = tmp_path / "result.json", tmp_path / "sounds"
    options = ["--limit", "2", "--voices", "hibari", "--threads", "1", "--work", str(ROOT / ".tools")]
    command = [sys.executable, "-m", "scripts.evaluate", *options, "--json", str(out), "--out", str(sounds)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(out.read_text(encoding="utf-8"))
    assert list(result["figures"]) == [f"{kind} en hibari" for kind in ROWS]
    assert all(figures["texts"] == 2 and name in done.stdout for name, figures in result["figures"].items())
    figures = result["figures"]["sentences en hibari"]
    assert figures["error"] < 0.7, [row["transcript"] for row in result["rows"]]
    assert figures["silent"] == figures["hit_max_length"] == 0
    installed = find_spec("resemblyzer") is not None and find_spec("speechmos") is not None
    assert (figures["similarity"] is not None) == (figures["dnsmos"] is not None) == installed
    lengths = [soundfile.info(file).duration for file in sounds.iterdir()]
    assert sorted(lengths) == pytest.approx(sorted(row["seconds"] for row in result["rows"]), abs=0.1)


@pytest.mark.slow
def test_an_unknown_kind_is_rejected() -> None:
    command = [sys.executable, "-m", "scripts.evaluate", "--kinds", "words,songs"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 2
    assert "--kinds: expected some of words,sentences,paragraphs,long-prompts,speeds, got songs" in done.stderr


def test_every_kind_has_texts() -> None:
    """Every kind has some in each language, and no two lists share one."""
    for lang in ("en", "zh"):
        lists = [held_out(lang, kind) for kind in ("words", "sentences", "paragraphs")]
        assert all(lists)
        assert sum(map(len, lists)) == len(set().union(*lists))
