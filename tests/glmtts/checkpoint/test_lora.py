"""A LoRA adapter becomes part of the weights, or is refused with what does not fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from glmtts.checkpoint.components import load_llm
from glmtts.errors import CheckpointError
from tests.helpers.tiny_checkpoint import write_tiny_checkpoint

CONFIG: dict[str, Any] = {"r": 2, "lora_alpha": 6, "bias": "none", "peft_type": "LORA"}
Q, EMBED, HEAD = "model.layers.0.self_attn.q_proj", "model.embed_tokens", "lm_head"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("lora") / "tiny")


@pytest.fixture
def own(tree: Path, tmp_path: Path) -> Path:
    """A copy of the llm's folder that a test may modify."""
    return shutil.copytree(tree / "llm", tmp_path / "llm")


def write_adapter(llm: Path, state: dict[str, Tensor], **config: object) -> Path:
    folder = llm / "lora"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({**CONFIG, **config}), "utf-8")
    save_file(
        {f"base_model.model.{name}": value.contiguous() for name, value in state.items()},
        folder / "adapter_model.safetensors",
    )
    return folder


def test_factors_are_added_and_whole_modules_replace(own: Path) -> None:
    """A matrix, the embedding with its factors transposed, and a head that was trained whole; others stay."""
    base = load_file(own / "model.safetensors")
    torch.manual_seed(0)
    rows, width = base[f"{EMBED}.weight"].shape
    a, b = torch.randn(2, width), torch.randn(width, 2)
    embedding_a, embedding_b, head = torch.randn(2, rows), torch.randn(width, 2), torch.randn(rows, width)
    write_adapter(
        own,
        {
            f"{Q}.lora_A.weight": a,
            f"{Q}.lora_B.weight": b,
            f"{EMBED}.lora_embedding_A": embedding_a,
            f"{EMBED}.lora_embedding_B": embedding_b,
            f"{HEAD}.weight": head,
        },
    )
    merged = load_llm(own, torch.float32).state_dict()
    expected = {
        f"{Q}.weight": base[f"{Q}.weight"] + 3 * b @ a,
        f"{EMBED}.weight": base[f"{EMBED}.weight"] + 3 * (embedding_b @ embedding_a).T,
        f"{HEAD}.weight": head,
    }
    for name, value in merged.items():
        torch.testing.assert_close(value, expected.get(name, base[name]))


def test_rank_stabilised_scaling_is_known(own: Path) -> None:
    base = load_file(own / "model.safetensors")[f"{Q}.weight"]
    ones = torch.ones(2, base.shape[1]), torch.ones(base.shape[0], 2)
    write_adapter(own, {f"{Q}.lora_A.weight": ones[0], f"{Q}.lora_B.weight": ones[1]}, use_rslora=True)
    merged = load_llm(own, torch.float32).state_dict()[f"{Q}.weight"]
    torch.testing.assert_close(merged, base + 2 * 6 / 2**0.5)


A, B = torch.ones(2, 32), torch.ones(32, 2)
REFUSALS: list[tuple[dict[str, Tensor], dict[str, object], str]] = [
    ({f"{Q}.lora_A.weight": A}, {}, "expected factors A and B, got lora_A"),
    ({f"{Q}.lora_A.weight": A, f"{Q}.lora_B.weight": B[:31]}, {}, r"expected factors of \(32, 32\)"),
    ({f"{Q}.lora_A.weight": A, f"{Q}.lora_B.weight": torch.ones(32, 3)}, {}, r"expected factors of \(32, 32\)"),
    ({"model.nothing.lora_A.weight": A}, {}, "expected modules of Llama, got model.nothing"),
    ({f"{Q}.lora_magnitude_vector": A}, {}, "expected names of a LoRA adapter"),
    ({f"{Q}.weight": torch.ones(31, 32)}, {}, r"expected \(32, 32\), got \(31, 32\)"),
    ({f"{Q}.lora_A.weight": A}, {"use_dora": True}, "use_dora: expected False, got True"),
    ({f"{Q}.lora_A.weight": A}, {"rank_pattern": {"q_proj": 4}}, "rank_pattern: expected {}"),
    ({f"{Q}.lora_A.weight": A}, {"r": None}, "expected numbers as r and lora_alpha"),
]


@pytest.mark.parametrize(("state", "config", "words"), REFUSALS)
def test_what_does_not_fit_is_refused(
    own: Path, state: dict[str, Tensor], config: dict[str, object], words: str
) -> None:
    """Also where only headers are read."""
    write_adapter(own, state, **config)
    with pytest.raises(CheckpointError, match=words):
        load_llm(own, torch.float32)
    with pytest.raises(CheckpointError, match=words), torch.device("meta"):
        load_llm(own, torch.float32)
