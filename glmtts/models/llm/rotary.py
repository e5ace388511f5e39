"""Rotary embedding of the AR transformer (Su et al. 2021, arXiv:2104.09864), in the half-split layout of Llama.

The flow's is different (interleaved pairs, first head only): see `glmtts.models.flow.dit_layers`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from glmtts.errors import CheckpointError

if TYPE_CHECKING:
    from transformers import LlamaConfig


class Rotary(NamedTuple):
    """cos, and sin with its first half negated, of some positions: each (b or 1, n, 1, head_dim)."""

    cos: Tensor
    sin: Tensor

    def apply_(self, x_bnhd: Tensor) -> None:
        """Rotates in place: x·cos + rotate_half(x)·sin, where rotate_half is a roll and `sin` has the minus sign."""
        rolled = x_bnhd.roll(x_bnhd.shape[-1] // 2, dims=-1)
        x_bnhd.mul_(self.cos).addcmul_(rolled, self.sin)


class RotaryTable:
    """Rotations of all positions from 0, computed when first needed; not in the state dict."""

    def __init__(self, head_dim: int, theta: float) -> None:
        self.head_dim = head_dim
        self.theta = theta
        self._table = torch.empty(2, 0, head_dim)
        self._too_short: list[Tensor] = []

    def get(self, positions: Tensor, length: int, *, dtype: torch.dtype) -> Rotary:
        """For `positions` (b, n), all below `length`, in the dtype of q and k: float32 would promote them."""
        if self._table.shape[1] < length or self._table.device != positions.device:
            self._too_short.append(self._table)  # captured CUDA graphs read its memory
            self._table = rotary_table(max(length, 512), self.head_dim, self.theta).to(positions.device)
        cos, sin = self._table[:, positions].to(dtype).unsqueeze(3)
        return Rotary(cos, sin)


def rotary_table(length: int, head_dim: int, theta: float) -> Tensor:
    """(2, length, head_dim): cos and signed sin of position / theta^(2i / head_dim), i repeated for both halves."""
    rate = theta ** -(torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angle = torch.arange(length, dtype=torch.float64)[:, None] * rate
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1)]).float()


def rope_theta(config: LlamaConfig) -> float:
    """The rotary base, from `rope_parameters` (transformers 5) or `rope_theta`; CheckpointError on any scaling."""
    parameters = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    kind = parameters.get("rope_type", parameters.get("type", "default"))
    if kind != "default":
        raise CheckpointError(f"llm/config.json: rope type: expected 'default', got {kind!r}")
    theta = parameters.get("rope_theta", getattr(config, "rope_theta", None))
    return float(10000.0 if theta is None else theta)
