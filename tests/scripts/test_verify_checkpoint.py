"""The command prints one table, each problem, and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from glmtts.errors import CheckpointError
from scripts.verify_checkpoint import main
from server.settings import Settings
from server.wsgi import command
from tests.helpers.tiny_checkpoint import write_tiny_checkpoint


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str]:
    with pytest.raises(SystemExit) as exit_:
        main([*arguments])
    return exit_.value.code, capsys.readouterr().out


def test_a_whole_checkpoint_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With `--tensors`, each tensor has a line with its dtype and shape."""
    write_tiny_checkpoint(tmp_path / "tiny")
    status, out = run(capsys, str(tmp_path / "tiny"), "--tensors")
    assert status == 0
    assert "problems: 0" in out
    (line,) = [line for line in out.splitlines() if " model.norm.weight " in line]
    assert line.split(maxsplit=3) == ["ok", "llm", "model.norm.weight", "float32 (32,)"]


def test_app_and_command_say_the_same_of_a_broken_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tiny_checkpoint(tmp_path / "tiny")
    (tmp_path / "tiny" / "frontend" / "campplus.pt").unlink()
    (tmp_path / "tiny" / "hift" / "hift.pt").write_bytes(b"")
    status, out = run(capsys, str(tmp_path / "tiny"))
    assert status == 1
    assert "problems: 2" in out
    load, _ = command.loader(Settings(checkpoint=str(tmp_path / "tiny"), device="cpu"))
    with pytest.raises(CheckpointError) as caught:
        load()
    for line in str(caught.value).splitlines()[1:-1]:
        assert line.removeprefix("- ").strip() in out


def test_a_folder_that_is_not_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _ = run(capsys, str(tmp_path / "none"))
    assert "expected a checkpoint folder" in str(status)
