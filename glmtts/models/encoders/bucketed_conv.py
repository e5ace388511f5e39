"""Convolutions over time that recordings of any length use in a few lengths.

CPU libraries compile a convolution for each new length and keep what they compiled, up to a thousand for the whole
process: recordings of new lengths took memory, time, and the place of what the engine needs.
Dimension names: b batch, c channels, f filter banks, t time.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

LENGTH_BUCKET = 128


def _pad(x: Tensor) -> Tensor:
    """`x` with zeros behind the end of its last axis, to a multiple of LENGTH_BUCKET: what convolutions pad with."""
    return F.pad(x, (0, -x.shape[-1] % LENGTH_BUCKET))


def _out_frames(conv: nn.Conv1d | nn.Conv2d, frames: int, padding: int) -> int:
    """Frames that `conv` makes of `frames` with `padding` zeros in all."""
    reach = conv.dilation[-1] * (conv.kernel_size[-1] - 1)
    return (frames + padding - reach - 1) // conv.stride[-1] + 1


class BucketedConv1d(nn.Conv1d):
    """nn.Conv1d with a number for its padding; (b, c, t) is computed with t rounded up."""

    def forward(self, x_bct: Tensor) -> Tensor:
        frames = _out_frames(self, x_bct.shape[-1], 2 * int(self.padding[-1]))
        return super().forward(_pad(x_bct))[..., :frames]


class BucketedConv2d(nn.Conv2d):
    """nn.Conv2d with numbers for its padding; (b, c, f, t) is computed with t rounded up."""

    def forward(self, x_bcft: Tensor) -> Tensor:
        frames = _out_frames(self, x_bcft.shape[-1], 2 * int(self.padding[-1]))
        return super().forward(_pad(x_bcft))[..., :frames]


class CausalConv1d(BucketedConv1d):
    """A convolution padded on the left only, so that no output depends on a later input."""

    def forward(self, x_bct: Tensor) -> Tensor:
        before = self.kernel_size[0] - 1
        frames = _out_frames(self, x_bct.shape[-1], before)
        x_bct = F.pad(_pad(x_bct), (before, 0))
        return F.conv1d(x_bct, self.weight, self.bias, self.stride)[..., :frames]
