"""The built packages serve and speak from a folder that is not a checkout."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from zipfile import ZipFile

import pytest
import requests
import soundfile

from server import RELEASE
from tests.helpers.server import ROOT, Server

pytestmark = pytest.mark.processes

BUILT = ("glmtts", "server", "client", "pyproject.toml", "README.md", "LICENSE", "NOTICE")
"""What the packages are built from."""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Those of the server and the client, built from a copy, since building writes beside the sources."""
    folder = tmp_path_factory.mktemp("wheels")
    for name in BUILT:
        source, target = ROOT / name, folder / "copy" / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "build"))
        else:
            shutil.copy(source, target)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder]
    subprocess.run([*build, folder / "copy", folder / "copy" / "client"], check=True, timeout=240)
    return sorted(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheels: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both packages; everything else comes from the environment of the tests."""
    folder = tmp_path_factory.mktemp("installed")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", folder]
    subprocess.run([*install, *wheels], check=True, timeout=120)
    return folder


@pytest.fixture(scope="module")
def server(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("folder")
    replacements = folder / "replacements.jsonl"
    replacements.write_text('{"弦": "<|X|><|IAN2|>"}\n', "utf-8")
    env = {"PYTHONPATH": str(installed), "GLMTTS_DEVICE": "cpu", "GLMTTS_G2P_REPLACE": str(replacements)}
    program = [str(installed / "bin" / "glmtts-server")]
    with Server(str(ROOT / "checkpoints" / "nano"), env=env, program=program, folder=folder) as server:
        yield server


def test_the_wheels_have_every_file_of_the_packages(wheels: list[Path]) -> None:
    """Those that git has: code, word lists, the console, the reader of /docs; and the licence."""
    names = {name for wheel in wheels for name in ZipFile(wheel).namelist()}
    listed = subprocess.run(
        ["git", "ls-files", "glmtts", "server", "client/glmtts_client"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    files = {line.removeprefix("client/") for line in listed.stdout.splitlines()}
    assert files
    assert files - names == set()
    assert {name.rpartition("/")[2] for name in names if "dist-info/licenses/" in name} == {"LICENSE", "NOTICE"}


def test_an_installed_server_speaks(server: Server, installed: Path) -> None:
    """With the checkpoint that a setting names, and the assets of its pages; it runs none of the checkout's code."""
    answer = requests.post(server.url + "/tts", json={"text": "Hello there.", "voice": "hibari"}, timeout=240)
    assert answer.status_code == 200, answer.text
    assert soundfile.info(io.BytesIO(answer.content)).duration > 0.4
    assert requests.get(server.url + "/info", timeout=30).json()["release"] == RELEASE
    for path in ("/", "/openapi.json", "/docs"):
        assert requests.get(server.url + path, timeout=30).status_code == 200, path
    assert ran(installed, "-c", "import server; print(server.__file__)").strip() == str(
        installed / "server/__init__.py"
    )


def test_an_installed_client_speaks(server: Server, installed: Path, tmp_path: Path) -> None:
    say = ["say", "Hello there.", "--voice", "hibari", "-o", "hello.wav", "--url", server.url]
    ran(installed, str(installed / "bin" / "glmtts"), *say, folder=tmp_path)
    assert soundfile.info(tmp_path / "hello.wav").duration > 0.4


def test_without_a_checkpoint_it_says_what_to_set(installed: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(installed / "bin" / "glmtts-server")]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(installed), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert "checkpoint (GLMTTS_CHECKPOINT): expected a directory" in done.stderr


def ran(installed: Path, *arguments: str, folder: Path | None = None) -> str:
    """What Python prints, run outside the checkout; it must succeed."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder or installed, env=environment(installed), capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def environment(installed: Path) -> Mapping[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("GLMTTS_", "CONSUL_"))}
    return own | {"PYTHONPATH": str(installed)}
