"""The KV cache of the AR transformer: keys and values of many rows, each at its own position.

A read covers the prefix `[:length]` of each row, including positions that a shorter row has not written yet; attention
masks them with a weight of exactly 0. Since 0 × NaN is NaN, they must be finite: `reset_slot` zeroes a slot before it
is reused, so a row that went wrong cannot affect the next one.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor

from glmtts.models.llm.history import MAX_POSITIONS

if TYPE_CHECKING:
    from transformers import LlamaConfig

Rows: TypeAlias = "slice | Tensor"
"""Slots of a cache: neighbours, known to the host; or int64 (b,), which only the device knows, so that one recorded
step serves any slot."""


def kv_heads(config: LlamaConfig) -> int:
    """Number of key heads; a config without it has one per query head."""
    return config.num_key_value_heads or config.num_attention_heads


def head_dim(config: LlamaConfig) -> int:
    """Channels per head; a config without it divides the hidden size by the heads."""
    return config.head_dim or config.hidden_size // config.num_attention_heads


def slot_positions(config: LlamaConfig) -> int:
    """Positions of a slot: what a segment may take, its prompts included."""
    return min(MAX_POSITIONS, int(config.max_position_embeddings))


def _shape(config: LlamaConfig, slots: int, length: int) -> tuple[int, ...]:
    return (slots, config.num_hidden_layers, 2 * kv_heads(config), length, head_dim(config))


class KVCache:
    """Preallocated `kv` (slots, layers, 2 × kv_heads, length, head_dim): keys first, then values, of the same head.

    One tensor instead of two saves a kernel launch per layer. A slot is contiguous, so resetting it is one memset.
    `length` is the number of positions per slot.
    """

    def __init__(
        self,
        config: LlamaConfig,
        slots: int,
        length: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        assert slots > 0
        assert length > 0
        self.slots = slots
        self.length = length
        self.kv_heads = kv_heads(config)
        # Not zeroed: on a CPU a slot takes memory when it is first used. `reset_slot` then writes all of it.
        self.kv = torch.empty(_shape(config, slots, length), dtype=dtype, device=device)
        self._slot_index = torch.arange(slots, device=device)[:, None]

    @staticmethod
    def bytes_for(config: LlamaConfig, slots: int, length: int, dtype: torch.dtype) -> int:
        """Bytes that such a cache takes."""
        return math.prod(_shape(config, slots, length)) * dtype.itemsize

    def reset_slot(self, slot: int) -> None:
        """Zeroes `slot` for a new row."""
        assert 0 <= slot < self.slots
        self.kv[slot].zero_()

    def fill_nan(self) -> None:
        """Fills the cache with NaN: for tests, to expose reads of slots that were not reset."""
        self.kv.fill_(float("nan"))

    def write(self, layer: int, rows: Rows, positions_bn: Tensor, kv_bnhd: Tensor) -> None:
        """Stores keys and values (b, n, 2 × kv_heads, head_dim) of `rows`, each at its own `positions_bn`."""
        slots_b1 = self._slot_index[rows] if isinstance(rows, slice) else rows[:, None]
        self.kv[:, layer][slots_b1, :, positions_bn] = kv_bnhd

    def read(self, layer: int, rows: Rows, length: int) -> tuple[Tensor, Tensor]:
        """The first `length` keys and values of `rows`, each (b, kv_heads, length, head_dim): views, or a copy if the
        rows are a tensor."""
        kv = self.kv[:, layer, :, :length]
        kv = kv[rows] if isinstance(rows, slice) else kv.index_select(0, rows)
        return kv[:, : self.kv_heads], kv[:, self.kv_heads :]
