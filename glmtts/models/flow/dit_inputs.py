"""The DiT's input layers: the solver time, and the noisy mel with its condition and tokens.

Attribute names are those of published checkpoints.
Dimension names: b batch, t time in mel frames, c/d channels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from glmtts.models.flow.conv_bucketing import conv1d_bucketed
from glmtts.models.flow.dit_cache import PastKV
from glmtts.models.flow.text_embedding import mask_padding

TIME_DIM = 256
CONV_GROUPS, CONV_KERNEL = 16, 31
HALO = 2 * (CONV_KERNEL // 2)
"""Frames on either side that a frame's position embedding depends on."""


class TimeEmbedding(nn.Module):
    """Solver time in [0, 1] -> (b, d): sinusoids, then an MLP."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.time_mlp = nn.Sequential(nn.Linear(TIME_DIM, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, time_b: Tensor) -> Tensor:
        half = TIME_DIM // 2
        step = math.log(10000.0) / (half - 1)
        frequency = torch.exp(torch.arange(half, dtype=torch.float32, device=time_b.device) * -step)
        angle = 1000.0 * time_b.float()[:, None] * frequency
        wave = torch.cat([angle.sin(), angle.cos()], dim=-1)
        first = self.time_mlp[0]
        assert isinstance(first, nn.Linear)
        out: Tensor = self.time_mlp(wave.to(first.weight.dtype))
        return out


class ConvPositionEmbedding(nn.Module):
    """A position embedding by convolution over the neighbouring frames: two grouped convolutions with Mish."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        first, second = (
            nn.Conv1d(dim, dim, CONV_KERNEL, padding=CONV_KERNEL // 2, groups=CONV_GROUPS) for _ in range(2)
        )
        self.conv1d = nn.Sequential(first, nn.Mish(), second, nn.Mish())

    def forward(self, x_btd: Tensor, valid_bt: Tensor | None) -> Tensor:
        dtype = x_btd.dtype
        for conv, mish in (self.conv1d[0:2], self.conv1d[2:4]):
            assert isinstance(conv, nn.Conv1d)
            x_bdt = mask_padding(x_btd, valid_bt).transpose(1, 2).to(conv.weight.dtype)
            x_btd = mish(conv1d_bucketed(conv, x_bdt)).transpose(1, 2)
        return mask_padding(x_btd, valid_bt).to(dtype)


class InputEmbedding(nn.Module):
    """[noisy mel, condition, tokens] -> the blocks' width."""

    def __init__(self, features: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Linear(features, dim)
        self.conv_pos_embed = ConvPositionEmbedding(dim)

    def forward(
        self, x_btm: Tensor, cond_btc: Tensor, tokens_btd: Tensor, valid_bt: Tensor | None, past: PastKV | None = None
    ) -> tuple[Tensor, Tensor]:
        """The embedding (b, t, d), and the hidden states before the position embedding (b, t, d).

        With HALO frames of hidden states in `past`, the embedding is what these frames have in the whole sequence.
        """
        h_btd = mask_padding(self.proj(torch.cat([x_btm, cond_btc, tokens_btd], dim=-1)), valid_bt)
        if past is None:
            return h_btd + self.conv_pos_embed(h_btd, valid_bt), h_btd
        frames = h_btd.shape[1]
        own_valid_bt = torch.ones_like(h_btd[..., 0], dtype=torch.bool) if valid_bt is None else valid_bt
        whole_btd = torch.cat([past.hidden_bnd, h_btd], dim=1)
        whole_valid_bt = torch.cat([past.hidden_valid_bn, own_valid_bt], dim=1)
        return h_btd + self.conv_pos_embed(whole_btd, whole_valid_bt)[:, -frames:], h_btd
