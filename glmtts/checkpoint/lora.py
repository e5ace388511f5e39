"""A low-rank adapter (LoRA, Hu et al. 2021, arXiv:2106.09685) as PEFT saves it, merged into a model's weights at load.

W + scale · B A for each adapted matrix; the embedding's factors are transposed. Modules that were trained whole
(`modules_to_save`) replace the model's. What is not known here is refused: it would sound nearly right.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from glmtts.checkpoint.weights import State, StoredTensor, read_json_object, read_safetensors
from glmtts.errors import CheckpointError

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model*.safetensors"

_NAME = re.compile(
    r"base_model\.model\.(?P<module>.+?)\.(?:(?P<factor>lora_(?:embedding_)?[AB])(?:\.weight)?|"
    r"(?:modules_to_save\.)?(?P<whole>weight))"
)
_REFUSED = {"use_dora": False, "rank_pattern": {}, "alpha_pattern": {}, "bias": "none", "fan_in_fan_out": False}
"""Options, and the value of each that changes nothing."""


def merge_lora(model: nn.Module, folder: Path) -> None:
    """Merges the adapter in `folder` into `model`. Raises CheckpointError with all names that do not fit.

    Under `with torch.device("meta")` names and shapes are checked, and nothing is merged.
    """
    scale = _scale(read_json_object(folder / CONFIG), str(folder / CONFIG))
    factors, whole = _sort(read_safetensors(folder, WEIGHTS), folder)
    weights = model.state_dict()
    unknown = sorted(module for module in (*factors, *whole) if f"{module}.weight" not in weights)
    if unknown:
        raise CheckpointError(f"{folder}: expected modules of {type(model).__name__}, got {', '.join(unknown)}")
    problems = [p for module, parts in factors.items() if (p := _misfit(module, parts, weights[f"{module}.weight"]))]
    for module, tensor in whole.items():
        expected = weights[f"{module}.weight"].shape
        if tensor.shape != expected:
            problems.append(f"{module}: expected {tuple(expected)}, got {tuple(tensor.shape)}")
    if problems:
        raise CheckpointError(f"{folder} does not fit {type(model).__name__}; {'; '.join(problems)}")
    if torch.get_default_device().type == "meta":
        return
    for module, tensor in whole.items():
        weights[f"{module}.weight"].copy_(tensor.read())
    for module, parts in factors.items():
        weight = weights[f"{module}.weight"]
        weight.copy_(weight.float() + scale * _product(parts).to(weight.device))


def _scale(config: dict[str, Any], where: str) -> float:
    for option, harmless in _REFUSED.items():
        if config.get(option) not in (harmless, None):
            raise CheckpointError(f"{where}: {option}: expected {harmless!r}, got {config[option]!r}")
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if not isinstance(rank, int) or rank < 1 or not isinstance(alpha, int | float):
        raise CheckpointError(f"{where}: expected numbers as r and lora_alpha, got {rank!r} and {alpha!r}")
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _sort(state: State, folder: Path) -> tuple[dict[str, State], State]:
    """The factors A and B of each adapted module, and the weights of those that were trained whole."""
    factors: defaultdict[str, State] = defaultdict(dict)
    whole: State = {}
    for name, tensor in state.items():
        match = _NAME.fullmatch(name)
        if match is None:
            raise CheckpointError(f"{folder}: expected names of a LoRA adapter, got {name}")
        if match["factor"]:
            factors[match["module"]][match["factor"]] = tensor
        else:
            whole[match["module"]] = tensor
    return dict(factors), whole


def _ordered(parts: State) -> tuple[StoredTensor, StoredTensor] | None:
    """The left and the right factor of what is added: B A, or of an embedding Aᵀ Bᵀ; None if one is missing."""
    for left, right in (("lora_B", "lora_A"), ("lora_embedding_A", "lora_embedding_B")):
        if set(parts) == {left, right}:
            return parts[left], parts[right]
    return None


def _misfit(module: str, parts: State, weight: Tensor) -> str | None:
    """What is wrong with the factors of a module; None if they fit."""
    pair = _ordered(parts)
    if pair is None:
        return f"{module}: expected factors A and B, got {', '.join(sorted(parts))}"
    (left, right), embedding = (factor.shape for factor in pair), "lora_embedding_A" in parts
    rows, rank, other_rank, columns = (left[1], left[0], right[1], right[0]) if embedding else (*left, *right)
    if (rows, columns) != tuple(weight.shape) or rank != other_rank:
        return f"{module}: expected factors of {tuple(weight.shape)}, got {tuple(left)} and {tuple(right)}"
    return None


def _product(parts: State) -> Tensor:
    pair = _ordered(parts)
    assert pair is not None
    left, right = (factor.read().float() for factor in pair)
    return left.T @ right.T if "lora_embedding_A" in parts else left @ right
