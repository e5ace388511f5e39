"""Weight files are read as data, and completely into modules."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from transformers import LlamaConfig

from glmtts.checkpoint.weights import build_uninitialised, load_strict, read_safetensors, read_torch
from glmtts.errors import CheckpointError
from glmtts.models.llm.llama import Llama
from tests.helpers.tiny_checkpoint import LLAMA


def test_pickled_code_is_not_run(tmp_path: Path) -> None:
    """A file whose pickle would call a function is refused, and nothing is called."""

    class Evil:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return sys.exit, ("code of a checkpoint was run",)

    torch.save({"model": {"weight": Evil()}}, tmp_path / "evil.pt")
    with pytest.raises(CheckpointError, match=r"evil\.pt"):
        read_torch(tmp_path / "evil.pt")


def test_only_tensors_are_a_state_dict(tmp_path: Path) -> None:
    """A torch file of anything but names and tensors is refused."""
    torch.save({"model": {"weight": 3}}, tmp_path / "numbers.pt")
    with pytest.raises(CheckpointError, match="tensors"):
        read_torch(tmp_path / "numbers.pt")


def test_a_name_in_two_shards_is_refused(tmp_path: Path) -> None:
    """Without an index, two files must not have the same name."""
    for shard in ("model-1", "model-2"):
        save_file(
            {f"only.{shard}": torch.zeros(1), "model.norm.weight": torch.zeros(1)}, tmp_path / f"{shard}.safetensors"
        )
    with pytest.raises(CheckpointError, match=r"model-2.*model\.norm\.weight"):
        read_safetensors(tmp_path)


def test_building_without_initialisation_changes_no_later_module() -> None:
    """Only modules built inside `build_uninitialised` keep uninitialised weights."""
    config = LlamaConfig.from_dict({**LLAMA, "vocab_size": 9})
    state = Llama(config).state_dict()
    bare = build_uninitialised(lambda: Llama(config))
    load_strict(bare, state, where="memory")
    assert all(torch.equal(value, state[name]) for name, value in bare.state_dict().items())
    torch.manual_seed(0)
    first = nn.Linear(4, 4).weight
    torch.manual_seed(0)
    build_uninitialised(lambda: nn.Linear(4, 4))
    assert torch.equal(nn.Linear(4, 4).weight, first)  # no random number was spent
