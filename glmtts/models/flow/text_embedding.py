"""The DiT's text embedding: speech tokens, one per mel frame, to vectors.

Attribute names are those of published checkpoints.
Dimension names: b batch, t time in mel frames, n tokens, d channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glmtts.models.flow.conv_bucketing import conv1d_bucketed
from glmtts.models.row_blocks import gelu

MAX_POSITION = 4096  # later frames all get the last row of the position table


def repeat_to_frames(tokens_bn: Tensor, frames: int) -> Tensor:
    """Repeats n tokens over `frames` frames, nearest below: (b, n) -> (b, frames), same dtype.

    The index comes from F.interpolate because checkpoints were trained with its float32 floor: at odd ratios it
    differs from exact division by one frame.
    """
    index_n = torch.arange(tokens_bn.shape[1], dtype=torch.float32, device=tokens_bn.device)
    index_t = F.interpolate(index_n[None, None], size=frames, mode="nearest")[0, 0].long()
    return tokens_bn[:, index_t]


def inverse_frequencies(count: int, theta: float, device: torch.device) -> Tensor:
    """theta^(-k / count) for k = 0 .. count - 1, in float32: (count,)."""
    # The reciprocal is written out, as in the published code: over thousands of frames one bit grows to an angle.
    return 1.0 / theta ** (torch.arange(count, dtype=torch.float32, device=device) / count)


def mask_padding(x_btd: Tensor, valid_bt: Tensor | None) -> Tensor:
    """`x_btd` with padded frames set to zero, whatever they hold (NaN included)."""
    return x_btd if valid_bt is None else x_btd.masked_fill(~valid_bt[..., None], 0.0)


class GRN(nn.Module):
    """Global response normalisation over time (Woo et al. 2023, arXiv:2301.00808): gamma * x * N + beta + x.

    N is each channel's L2 norm over the row's frames, divided by the mean of these norms over channels.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1, 1, dim))
        self.beta = nn.Parameter(torch.zeros(1, 1, dim))

    def forward(self, x_btd: Tensor, valid_bt: Tensor | None) -> Tensor:
        norm_b1d = torch.linalg.vector_norm(mask_padding(x_btd, valid_bt), dim=1, keepdim=True)
        ratio_b1d = norm_b1d / (norm_b1d.mean(dim=-1, keepdim=True) + 1e-6)
        out: Tensor = x_btd * (1 + self.gamma * ratio_b1d) + self.beta
        return out


class ConvNeXtBlock(nn.Module):
    """ConvNeXt-V2 block over time: depthwise convolution, norm, MLP with GRN, residual."""

    def __init__(self, dim: int, inner: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv1d(dim, dim, kernel_size=7, padding=3, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.pwconv1 = nn.Linear(dim, inner)
        self.grn = GRN(inner)
        self.pwconv2 = nn.Linear(inner, dim)

    def forward(self, x_btd: Tensor, valid_bt: Tensor | None) -> Tensor:
        y = conv1d_bucketed(self.dwconv, mask_padding(x_btd, valid_bt).transpose(1, 2)).transpose(1, 2)
        y = self.grn(gelu(self.pwconv1(self.norm(y))), valid_bt)
        out: Tensor = x_btd + self.pwconv2(y)
        return out


class TextEmbedding(nn.Module):
    """Speech tokens, one per frame, to embeddings; the same for every solver step."""

    def __init__(self, vocabulary: int, dim: int, layers: int) -> None:
        super().__init__()
        self.text_embed = nn.Embedding(vocabulary + 1, dim)
        self.text_blocks = nn.ModuleList(ConvNeXtBlock(dim, dim * 2) for _ in range(layers))

    def forward(
        self, tokens_bt: Tensor, valid_bt: Tensor | None = None, *, positions_t: Tensor | None = None
    ) -> Tensor:
        """(b, t) ids, 0 = the null token -> (b, t, d); padded frames come out as zeros.

        positions_t: the frames' positions in their utterance, if some were left out, (t,) or (b, t); by default 0, 1, …
        """
        x_btd: Tensor = self.text_embed(tokens_bt)
        x_btd = x_btd + self._position_embedding(x_btd, positions_t)
        for block in self.text_blocks:
            x_btd = block(x_btd, valid_bt)
        return mask_padding(x_btd, valid_bt)

    @staticmethod
    def _position_embedding(x_btd: Tensor, positions_t: Tensor | None = None) -> Tensor:
        """[cos | sin] of the position, (t, d) or (b, t, d). Not stored: .to(bfloat16) would round a buffer."""
        _, frames, dim = x_btd.shape
        if positions_t is None:
            positions_t = torch.arange(frames, device=x_btd.device)
        angle_td = positions_t.clamp(max=MAX_POSITION - 1)[..., None] * inverse_frequencies(dim // 2, 1e4, x_btd.device)
        return torch.cat([angle_td.cos(), angle_td.sin()], dim=-1).to(x_btd.dtype)
