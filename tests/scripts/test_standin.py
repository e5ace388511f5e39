"""A stand-in has the published checkpoint's tree, ids and sizes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from glmtts.checkpoint.verify import PUBLISHED as EXPECTED
from glmtts.checkpoint.verify import verify
from scripts.standin.__main__ import main
from scripts.standin.sizes import PUBLISHED, QUICK
from scripts.standin.write import write_standin


def test_the_published_sizes_are_those_that_are_checked() -> None:
    written = {
        **{("llm", key): value for key, value in PUBLISHED.llama.items()},
        **{("flow", "trans_dim" if key == "dim" else key): value for key, value in PUBLISHED.dit.items()},
    }
    checked = {key: value for key, value in EXPECTED.items() if key in written}
    assert len(checked) > 10
    assert checked == {key: written[key] for key in checked}


def test_a_narrow_one_has_no_problem_and_the_published_ids(tmp_path: Path) -> None:
    """It differs from the published one in its sizes only; numbers and bytes are those of the files."""
    written = write_standin(tmp_path / "standin", QUICK)
    checks = verify(tmp_path / "standin", published=True)
    assert {check.problem.partition(":")[0] for check in checks if check.problem} == {"llm", "flow"}
    assert all(check.part == "published" for check in checks if check.problem)
    files = [file for file in (tmp_path / "standin").rglob("*") if file.is_file()]
    assert written.size_bytes == sum(file.stat().st_size for file in files)
    numbers = 0
    for file in files:
        if file.suffix == ".safetensors":
            with safe_open(file, "pt") as shard:
                numbers += sum(shard.get_tensor(name).numel() for name in shard.keys())  # noqa: SIM118  # no mapping
        elif file.suffix == ".pt":
            state = torch.load(file, weights_only=True)
            numbers += sum(value.numel() for value in state.get("model", state).values())
    assert written.parameters == numbers


def test_the_command_overwrites_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([str(tmp_path), "--size", "quick"])
    assert "expected no such folder, got one" in capsys.readouterr().err
