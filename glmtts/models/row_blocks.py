"""Layers that a CPU computes in a few shapes, whatever the number of rows.

For each number of rows that it has not seen, PyTorch compiles a GELU of its own, and a product in bfloat16, which it
keeps, up to a thousand of half a megabyte in each thread. So rows are computed in blocks, of which the last is rounded
up: the numbers are the same.
Dimension names: r rows, i inputs, o outputs.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BLOCK_ROWS, ROW_BUCKET = 256, 16
"""Rows of a block; the last one has a multiple of ROW_BUCKET, or fewer rows than that."""


def linear(x: Tensor, weight_oi: Tensor, bias_o: Tensor | None = None) -> Tensor:
    """F.linear, (…, i) to (…, o)."""
    if x.device.type != "cpu" or x.dtype != torch.bfloat16:
        return F.linear(x, weight_oi, bias_o)
    return _in_blocks(x, lambda x_ri: F.linear(x_ri, weight_oi, bias_o))


def gelu(x: Tensor) -> Tensor:
    """F.gelu."""
    return F.gelu(x) if x.device.type != "cpu" else _in_blocks(x, F.gelu)


def _in_blocks(x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """`function`, which takes and returns rows (r, …), of all rows of `x` (…, i)."""
    parts = []
    for block_ri in torch.split(x.reshape(-1, x.shape[-1]), BLOCK_ROWS):
        rows = len(block_ri)
        padding = -rows % ROW_BUCKET if rows > ROW_BUCKET else 0
        parts.append(function(F.pad(block_ri, (0, 0, 0, padding)) if padding else block_ri)[:rows])
    out_ro = parts[0] if len(parts) == 1 else torch.cat(parts)
    return out_ro.view(*x.shape[:-1], -1)


class Linear(nn.Linear):
    """nn.Linear with `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)
