"""Lengths of sequences, made few: CPU libraries compile a convolution anew for each length, and keep what they compile.

Knows nothing about whose sequences they are. Dimension names: b batch, c channels, t time.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

STEP = 32


def convolved(conv: nn.Conv1d, x_bct: Tensor) -> Tensor:
    """What `conv` makes of (b, c, t), of t a multiple of STEP at a time: the zeros behind are those that it pads with.

    `conv` has stride 1, and as much padding as keeps t.
    """
    frames = x_bct.shape[-1]
    y_bct: Tensor = conv(F.pad(x_bct, (0, -frames % STEP)))
    return y_bct[..., :frames]
