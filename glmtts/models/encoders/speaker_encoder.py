"""CAM++ (Wang et al. 2023, arXiv:2303.00332): 16 kHz speech to a 192-dimensional speaker vector.

A 2-D convolution head over the filter banks, then a densely connected TDNN with context-aware masking.
Dimension names: b batch, c channels, f filter banks, t time in 10 ms frames, s samples.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glmtts.dsp.features import FBANK_BINS, fbank
from glmtts.models.encoders.bucketed_conv import BucketedConv1d, BucketedConv2d

EMBEDDING = 192
HEAD_CHANNELS = 32
TDNN_CHANNELS = 128
GROWTH = 32
BOTTLENECK = 128
BLOCKS = ((12, 1), (24, 2), (16, 2))
"""(layers, dilation) of the three dense blocks; all kernels are 3 wide."""
SEGMENT = 100
"""Frames of 20 ms that are averaged for a layer's local context."""


class _ResBlock(nn.Module):
    """Two 3 × 3 convolutions and a shortcut; `stride` applies to the frequency axis only."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = BucketedConv2d(channels, channels, 3, stride=(stride, 1), padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = BucketedConv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential()
        if stride != 1:
            self.shortcut.append(BucketedConv2d(channels, channels, 1, stride=(stride, 1), bias=False))
            self.shortcut.append(nn.BatchNorm2d(channels))

    def forward(self, x_bcft: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x_bcft)))))
        return F.relu(out + self.shortcut(x_bcft))


class _Head(nn.Module):
    """Filter banks (b, f, t), as an image, to (b, channels · f/8, t)."""

    def __init__(self) -> None:
        super().__init__()
        c = HEAD_CHANNELS
        self.conv1 = BucketedConv2d(1, c, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(c)
        self.layer1 = nn.Sequential(_ResBlock(c, 2), _ResBlock(c, 1))
        self.layer2 = nn.Sequential(_ResBlock(c, 2), _ResBlock(c, 1))
        self.conv2 = BucketedConv2d(c, c, 3, stride=(2, 1), padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(c)

    def forward(self, fbank_bft: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(fbank_bft.unsqueeze(1))))
        x = self.layer2(self.layer1(x))
        return F.relu(self.bn2(self.conv2(x))).flatten(1, 2)


class _Norm(nn.Module):
    """Batch norm, then ReLU if the published layer has one."""

    def __init__(self, channels: int, *, affine: bool = True, relu: bool = True) -> None:
        super().__init__()
        self.batchnorm = nn.BatchNorm1d(channels, affine=affine)
        self.relu = relu

    def forward(self, x_bct: Tensor) -> Tensor:
        x_bct = self.batchnorm(x_bct)
        return F.relu(x_bct) if self.relu else x_bct


class _Unit(nn.Module):
    """A convolution without bias, then `_Norm`."""

    def __init__(self, channels: int, out: int, kernel: int = 1, stride: int = 1, **norm: bool) -> None:
        super().__init__()
        self.linear = BucketedConv1d(channels, out, kernel, stride, padding=kernel // 2, bias=False)
        self.nonlinear = _Norm(out, **norm)

    def forward(self, x_bct: Tensor) -> Tensor:
        out: Tensor = self.nonlinear(self.linear(x_bct))
        return out


class _Transit(nn.Module):
    """`_Norm`, then a pointwise convolution that halves the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.nonlinear = _Norm(channels)
        self.linear = BucketedConv1d(channels, channels // 2, 1, bias=False)

    def forward(self, x_bct: Tensor) -> Tensor:
        out: Tensor = self.linear(self.nonlinear(x_bct))
        return out


class _ContextMask(nn.Module):
    """A dilated convolution whose channels are gated by the mean of the whole signal and of their segment."""

    def __init__(self, dilation: int) -> None:
        super().__init__()
        self.linear_local = BucketedConv1d(BOTTLENECK, GROWTH, 3, padding=dilation, dilation=dilation, bias=False)
        self.linear1 = nn.Conv1d(BOTTLENECK, BOTTLENECK // 2, 1)
        self.linear2 = nn.Conv1d(BOTTLENECK // 2, GROWTH, 1)

    def forward(self, x_bct: Tensor) -> Tensor:
        local = self.linear_local(x_bct)
        # Gates are constant within a segment: computed once per segment, then repeated.
        segments = F.avg_pool1d(x_bct, SEGMENT, SEGMENT, ceil_mode=True)
        context = x_bct.mean(-1, keepdim=True) + segments
        gate = torch.sigmoid(self.linear2(F.relu(self.linear1(context))))
        out: Tensor = local * gate.repeat_interleave(SEGMENT, dim=-1)[..., : x_bct.shape[-1]]
        return out


class _DenseLayer(nn.Module):
    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.nonlinear1 = _Norm(channels)
        self.linear1 = BucketedConv1d(channels, BOTTLENECK, 1, bias=False)
        self.nonlinear2 = _Norm(BOTTLENECK)
        self.cam_layer = _ContextMask(dilation)

    def forward(self, x_bct: Tensor) -> Tensor:
        out: Tensor = self.cam_layer(self.nonlinear2(self.linear1(self.nonlinear1(x_bct))))
        return out


class _DenseBlock(nn.Module):
    """Layers that each append `GROWTH` channels to their input."""

    def __init__(self, layers: int, channels: int, dilation: int) -> None:
        super().__init__()
        for i in range(layers):
            self.add_module(f"tdnnd{i + 1}", _DenseLayer(channels + i * GROWTH, dilation))

    def forward(self, x_bct: Tensor) -> Tensor:
        for layer in self.children():
            x_bct = torch.cat([x_bct, layer(x_bct)], dim=1)
        return x_bct


class _Statistics(nn.Module):
    """Mean and unbiased standard deviation over time, (b, 2c, 1)."""

    def forward(self, x_bct: Tensor) -> Tensor:
        return torch.cat([x_bct.mean(-1, keepdim=True), x_bct.std(-1, keepdim=True)], dim=1)


class CampPlus(nn.Module):
    """The published CAM++ with 80 bins and 192 dimensions; attribute names are those of its torch file."""

    def __init__(self) -> None:
        super().__init__()
        self.head = _Head()
        channels = TDNN_CHANNELS
        self.xvector = nn.Sequential()
        self.xvector.add_module("tdnn", _Unit(HEAD_CHANNELS * FBANK_BINS // 8, channels, kernel=5, stride=2))
        for number, (layers, dilation) in enumerate(BLOCKS, start=1):
            self.xvector.add_module(f"block{number}", _DenseBlock(layers, channels, dilation))
            channels += layers * GROWTH
            self.xvector.add_module(f"transit{number}", _Transit(channels))
            channels //= 2
        self.xvector.add_module("out_nonlinear", _Norm(channels))
        self.xvector.add_module("stats", _Statistics())
        self.xvector.add_module("dense", _Unit(2 * channels, EMBEDDING, affine=False, relu=False))

    def forward(self, fbank_btf: Tensor) -> Tensor:
        """Speaker vectors (b, 192), not normalised, of filter banks (b, t, 80) minus their mean over time; t ≥ 3."""
        out: Tensor = self.xvector(self.head(fbank_btf.transpose(1, 2))).squeeze(-1)
        return out

    @torch.no_grad()
    def embed(self, wave_s: Tensor) -> Tensor:
        """The speaker vector (192,) float32, on the CPU, of a 16 kHz waveform (s,) of at least 50 ms."""
        assert not self.training, "batch norm would use the statistics of this audio"
        features = fbank(wave_s.to(self.head.conv1.weight))
        vector: Tensor = self((features - features.mean(0)).unsqueeze(0))[0]
        return vector.float().cpu()
