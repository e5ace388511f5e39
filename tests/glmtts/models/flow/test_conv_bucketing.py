"""Sequences whose lengths are rounded up."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from glmtts.models.flow.conv_bucketing import LENGTH_BUCKET, conv1d_bucketed


@pytest.mark.parametrize("frames", [1, LENGTH_BUCKET - 1, LENGTH_BUCKET, LENGTH_BUCKET + 1, 3 * LENGTH_BUCKET - 5])
def test_a_convolution_of_a_rounded_length_is_that_of_the_sequence(frames: int) -> None:
    """The same numbers for any length, and the convolution itself sees multiples of LENGTH_BUCKET only."""
    conv, x_bct = nn.Conv1d(8, 8, 7, padding=3, groups=2), torch.randn(2, 8, frames)
    expected, lengths = conv(x_bct), []
    conv.register_forward_pre_hook(lambda _conv, inputs: lengths.append(inputs[0].shape[2]))
    torch.testing.assert_close(conv1d_bucketed(conv, x_bct), expected)
    assert lengths == [-(-frames // LENGTH_BUCKET) * LENGTH_BUCKET]
