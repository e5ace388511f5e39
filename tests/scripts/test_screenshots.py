"""scripts/screenshots.py takes all pictures of the documentation."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.browser import needs_chromium
from tests.helpers.local_cluster import environment
from tests.helpers.server import ROOT, store_voice

pytestmark = pytest.mark.processes


@needs_chromium
def test_it_takes_every_picture(tmp_path: Path) -> None:
    images = tmp_path / "images"
    command = [sys.executable, ROOT / "scripts" / "screenshots.py", "--to", images, "--checkpoint", "fake:"]
    command += ["--port", "0"]
    store_voice(tmp_path / "voices", "default", {"neutral": "This is me."})
    own = environment() | {"GLMTTS_VOICES_DIR": str(tmp_path / "voices")}
    done = subprocess.run(command, env=own, stdout=subprocess.PIPE, text=True, timeout=280, check=True)
    assert done.stdout.startswith("page ready ")
    names = {"speak", "voices", "cluster", "phone", "dark"}
    assert {path.stem for path in images.iterdir()} == names
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in images.iterdir())
