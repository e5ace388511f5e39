"""The memory of the AR transformer: keys and values of many rows, each at a position of its own.

Knows nothing about which request sits in which slot, nor how far a row has come: positions are arguments.

What a read may touch is the whole prefix `[:length]` of every row asked for, also where a shorter row has written
nothing yet; attention hides that part with a weight of exactly 0. Since 0 × NaN is NaN, what lies there must be
finite: `reset_slot` cleans a slot before a new row moves in, so a row that went wrong cannot spoil the next one.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import LlamaConfig


def kv_heads(config: LlamaConfig) -> int:
    """Key heads; a config without them has one for each query head."""
    return config.num_key_value_heads or config.num_attention_heads


def head_dim(config: LlamaConfig) -> int:
    """Channels of one head; a config that does not name them divides the hidden size."""
    return config.head_dim or config.hidden_size // config.num_attention_heads


def _shape(config: LlamaConfig, slots: int, length: int) -> tuple[int, ...]:
    return (slots, config.num_hidden_layers, 2 * kv_heads(config), length, head_dim(config))


class KVCache:
    """Preallocated `kv` (slots, layers, 2 × kv_heads, length, head_dim): keys first, then values, of the same head.

    One tensor instead of two, because one write per layer is one launch less. A slot is contiguous: cleaning it is
    one memset. `length` is the number of positions of a slot.
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
        self.kv = torch.empty(_shape(config, slots, length), dtype=dtype, device=device)
        self.kv.zero_()  # not torch.zeros, whose pages a CPU takes only when they are first written to
        self._slot_index = torch.arange(slots, device=device)[:, None]

    @staticmethod
    def bytes_for(config: LlamaConfig, slots: int, length: int, dtype: torch.dtype) -> int:
        """Memory that such a cache takes."""
        return math.prod(_shape(config, slots, length)) * dtype.itemsize

    def reset_slot(self, slot: int) -> None:
        """Cleans `slot` for a new row: whatever the last one left there is gone."""
        assert 0 <= slot < self.slots
        self.kv[slot].zero_()

    def fill_nan(self) -> None:
        """Fills everything with NaN: for tests, in which a read of a slot that was never claimed shows."""
        self.kv.fill_(float("nan"))

    def write(self, layer: int, rows: slice, positions_bn: Tensor, kv_bnhd: Tensor) -> None:
        """Stores keys and values (b, n, 2 × kv_heads, head_dim) of the rows `rows` at their own `positions_bn`."""
        self.kv[:, layer][self._slot_index[rows], :, positions_bn] = kv_bnhd

    def read(self, layer: int, rows: slice, length: int) -> tuple[Tensor, Tensor]:
        """Views of the first `length` keys and values of `rows`, each (b, kv_heads, length, head_dim); no copy."""
        kv = self.kv[rows, layer, :, :length]
        return kv[:, : self.kv_heads], kv[:, self.kv_heads :]
