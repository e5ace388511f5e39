"""Convolutions over lengths rounded up."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glmtts.models.encoders.bucketed_conv import LENGTH_BUCKET, BucketedConv1d, BucketedConv2d, CausalConv1d
from glmtts.models.encoders.speaker_encoder import CampPlus

LENGTHS = (5, LENGTH_BUCKET - 1, LENGTH_BUCKET, LENGTH_BUCKET + 1, 3 * LENGTH_BUCKET - 5)


@pytest.mark.parametrize("frames", LENGTHS)
@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(1, 1, 1), (3, 1, 2), (5, 2, 1), (3, 2, 1)])
def test_a_bucketed_convolution_equals_the_plain_one(frames: int, kernel: int, stride: int, dilation: int) -> None:
    """The numbers and their count are the same for any length, stride and dilation."""
    padding = dilation * (kernel // 2)
    conv = BucketedConv1d(4, 6, kernel, stride, padding=padding, dilation=dilation)
    x_bct = torch.randn(2, 4, frames)
    expected = F.conv1d(x_bct, conv.weight, conv.bias, stride, padding, dilation)
    torch.testing.assert_close(conv(x_bct), expected)


@pytest.mark.parametrize("frames", LENGTHS)
def test_images_are_rounded_along_time_only(frames: int) -> None:
    """A stride along the frequency axis stays as it is."""
    conv, x_bcft = BucketedConv2d(2, 3, 3, stride=(2, 1), padding=1), torch.randn(1, 2, 8, frames)
    expected = F.conv2d(x_bcft, conv.weight, conv.bias, (2, 1), 1)
    torch.testing.assert_close(conv(x_bcft), expected)


@pytest.mark.parametrize("frames", LENGTHS)
@pytest.mark.parametrize("stride", [1, 2])
def test_a_causal_convolution_is_padded_on_the_left(frames: int, stride: int) -> None:
    """And rounded up on the right."""
    conv, x_bct = CausalConv1d(3, 3, 3, stride), torch.randn(1, 3, frames)
    expected = F.conv1d(F.pad(x_bct, (2, 0)), conv.weight, conv.bias, stride)
    torch.testing.assert_close(conv(x_bct), expected)


def test_a_speaker_encoder_sees_few_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recordings of a hundred lengths make no more than a few."""
    lengths: set[int] = set()
    for kind in (nn.Conv1d, nn.Conv2d):
        plain = kind._conv_forward

        def recorded(conv: nn.Module, x: Tensor, *parameters: Tensor | None, plain: object = plain) -> Tensor:
            lengths.add(x.shape[-1])
            return plain(conv, x, *parameters)  # type: ignore[operator]

        monkeypatch.setattr(kind, "_conv_forward", recorded)
    encoder = CampPlus().eval()
    with torch.no_grad():
        for frames in range(101, 251, 15):
            encoder(torch.randn(1, frames, 80))
    assert lengths == {LENGTH_BUCKET, 2 * LENGTH_BUCKET, 1, 2}  # and one or two segments
