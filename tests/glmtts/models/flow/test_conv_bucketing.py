"""Convolutions over lengths rounded up."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from glmtts.models.flow.conv_bucketing import LENGTH_BUCKET, conv1d_bucketed


@pytest.mark.parametrize("frames", [1, LENGTH_BUCKET - 1, LENGTH_BUCKET, LENGTH_BUCKET + 1, 3 * LENGTH_BUCKET - 5])
def test_a_bucketed_convolution_equals_the_plain_one(frames: int) -> None:
    """The numbers are the same for any length, and the convolution gets multiples of LENGTH_BUCKET only."""
    conv, x_bct = nn.Conv1d(8, 8, 7, padding=3, groups=2), torch.randn(2, 8, frames)
    expected, lengths = conv(x_bct), []
    conv.register_forward_pre_hook(lambda _conv, inputs: lengths.append(inputs[0].shape[2]))
    torch.testing.assert_close(conv1d_bucketed(conv, x_bct), expected)
    assert lengths == [-(-frames // LENGTH_BUCKET) * LENGTH_BUCKET]
