"""Convolutions over lengths rounded up to a few sizes.

CPU libraries compile a convolution for each new length and keep what they compiled: without buckets memory grows.
Dimension names: b batch, c channels, t time.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

LENGTH_BUCKET = 32


def conv1d_bucketed(conv: nn.Conv1d, x_bct: Tensor) -> Tensor:
    """`conv(x_bct)`, (b, c, t), computed with t rounded up to a multiple of LENGTH_BUCKET.

    `conv` must have stride 1 and zero padding that keeps t: the zeros added here are those it would pad with.
    """
    frames = x_bct.shape[-1]
    y_bct: Tensor = conv(F.pad(x_bct, (0, -frames % LENGTH_BUCKET)))
    return y_bct[..., :frames]
