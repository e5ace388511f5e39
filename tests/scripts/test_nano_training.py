"""The small checkpoint's training, from an empty folder to a checkpoint that loads, with next to no steps."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from glmtts.checkpoint.loader import load
from scripts.nano.sentences import FORTUNES, GIMP_HELP, WORDNET
from tests.helpers.server import ROOT

MISSING = [
    *(str(path) for path in (WORDNET, FORTUNES / "tang300", GIMP_HELP) if not path.exists()),
    *(module for module in ("hibari", "misaki", "pyworld") if importlib.util.find_spec(module) is None),
    *(command for command in ("npm",) if shutil.which(command) is None),
]


def python(*arguments: str) -> str:
    """Runs a module of scripts.nano; what it printed."""
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.training
@pytest.mark.timeout(1200)
@pytest.mark.skipif(bool(MISSING), reason=f"training needs what is not here: {', '.join(MISSING)}")
def test_all_stages_from_an_empty_folder_make_a_checkpoint_that_goes_on(tmp_path: Path) -> None:
    """A checkpoint comes out that the product loads, and unpacked again it holds the very weights."""
    work, made = tmp_path / "work", tmp_path / "nano"
    python("scripts.nano.train", "--work", str(work), "--to", str(made), "--smoke")
    assert load(made, device="cpu").info.languages == ("zh", "en")
    assert {voice.name for voice in (made / "voices").iterdir()} == {
        "default",
        "hibari",
        "michael",
        "mingyue",
        "songhe",
    }
    again = tmp_path / "again"
    again.mkdir()
    (again / "packages").symlink_to(work / "packages")
    python("scripts.nano.import_checkpoint", "--work", str(again), "--from", str(made))
    for stage, name in (("ar", "average"), ("flow", "average"), ("vocoder", "average")):
        old, new = (torch.load(w / "states" / f"{stage}.pt", weights_only=True)["modules"] for w in (work, again))
        for key, value in old[name].items():
            torch.testing.assert_close(new[name][key], value, rtol=1e-3, atol=1e-4)
