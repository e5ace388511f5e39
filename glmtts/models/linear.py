"""Linear layers that a CPU multiplies in bfloat16 in a few shapes.

For each number of rows that it has not seen, PyTorch makes a product of its own and keeps it, up to a thousand of half
a megabyte in each thread. So rows are multiplied in blocks, of which the last is rounded up: the numbers are the same.
Dimension names: r rows, i inputs, o outputs.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BLOCK_ROWS, ROW_BUCKET = 256, 16
"""Rows of a block; the last one has a multiple of ROW_BUCKET, or fewer rows than that."""


def linear(x: Tensor, weight_oi: Tensor, bias_o: Tensor | None = None) -> Tensor:
    """F.linear, (…, i) to (…, o)."""
    if x.device.type != "cpu" or x.dtype != torch.bfloat16:
        return F.linear(x, weight_oi, bias_o)
    x_ri = x.reshape(-1, x.shape[-1])
    parts = []
    for block_ri in torch.split(x_ri, BLOCK_ROWS):
        rows = len(block_ri)
        padding = -rows % ROW_BUCKET if rows > ROW_BUCKET else 0
        parts.append(F.linear(F.pad(block_ri, (0, 0, 0, padding)) if padding else block_ri, weight_oi, bias_o)[:rows])
    out_ro = parts[0] if len(parts) == 1 else torch.cat(parts)
    return out_ro.view(*x.shape[:-1], -1)


class Linear(nn.Linear):
    """nn.Linear with `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)
