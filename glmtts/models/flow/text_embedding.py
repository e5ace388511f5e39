"""The token trunk of the DiT: speech tokens, one per mel frame, to embeddings.

Attribute names are those of published checkpoints. Knows nothing about time, noise or speakers.
Dimension names: b batch, t time in mel frames, n tokens, d channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glmtts.models.flow.conv_bucketing import convolved

MAX_POSITION = 4096  # later frames all get the last row of the position table


def stretch(tokens_bn: Tensor, frames: int) -> Tensor:
    """Repeats n tokens over `frames` frames, nearest below: (b, n) -> (b, frames), same dtype.

    The index is taken from F.interpolate because its float32 floor is what checkpoints were trained with:
    at odd ratios it differs from exact division by a frame.
    """
    places = torch.arange(tokens_bn.shape[1], dtype=torch.float32, device=tokens_bn.device)
    index_t = F.interpolate(places[None, None], size=frames, mode="nearest")[0, 0].long()
    return tokens_bn[:, index_t]


def frequencies(count: int, theta: float, device: torch.device) -> Tensor:
    """theta^(-k / count) for k = 0 .. count - 1, in float32: (count,)."""
    # The reciprocal is written out, as in the reference: over thousands of frames a last bit becomes an angle.
    return 1.0 / theta ** (torch.arange(count, dtype=torch.float32, device=device) / count)


def clear(x_btd: Tensor, valid_bt: Tensor | None) -> Tensor:
    """`x_btd` with zeros, whatever was there, in frames that are padding."""
    return x_btd if valid_bt is None else x_btd.masked_fill(~valid_bt[..., None], 0.0)


class GRN(nn.Module):
    """Global response normalisation over time: gamma * x * N + beta + x.

    N is each channel's L2 norm over the row's frames, divided by the mean of these norms over channels.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1, 1, dim))
        self.beta = nn.Parameter(torch.zeros(1, 1, dim))

    def forward(self, x_btd: Tensor, valid_bt: Tensor | None) -> Tensor:
        norm_b1d = torch.linalg.vector_norm(clear(x_btd, valid_bt), dim=1, keepdim=True)
        ratio_b1d = norm_b1d / (norm_b1d.mean(dim=-1, keepdim=True) + 1e-6)
        out: Tensor = x_btd * (1 + self.gamma * ratio_b1d) + self.beta
        return out


class ConvNeXtBlock(nn.Module):
    """ConvNeXt-V2 block over time: depthwise conv, norm, MLP with GRN, residual."""

    def __init__(self, dim: int, inner: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv1d(dim, dim, kernel_size=7, padding=3, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.pwconv1 = nn.Linear(dim, inner)
        self.grn = GRN(inner)
        self.pwconv2 = nn.Linear(inner, dim)

    def forward(self, x_btd: Tensor, valid_bt: Tensor | None) -> Tensor:
        y = convolved(self.dwconv, clear(x_btd, valid_bt).transpose(1, 2)).transpose(1, 2)
        y = self.grn(F.gelu(self.pwconv1(self.norm(y))), valid_bt)
        out: Tensor = x_btd + self.pwconv2(y)
        return out


class TokenTrunk(nn.Module):
    """Speech tokens, one per frame, to embeddings; the same for every solver step."""

    def __init__(self, vocabulary: int, dim: int, layers: int) -> None:
        super().__init__()
        self.text_embed = nn.Embedding(vocabulary + 1, dim)
        self.text_blocks = nn.ModuleList(ConvNeXtBlock(dim, dim * 2) for _ in range(layers))

    def forward(self, tokens_bt: Tensor, valid_bt: Tensor | None = None, *, places_t: Tensor | None = None) -> Tensor:
        """(b, t) ids, 0 = the null token -> (b, t, d); frames that are padding come out as zeros.

        places_t: the frames' numbers in their utterance, where some have been left out; by default 0, 1, …
        """
        x_btd: Tensor = self.text_embed(tokens_bt)
        x_btd = x_btd + self._positions(x_btd, places_t)
        for block in self.text_blocks:
            x_btd = block(x_btd, valid_bt)
        return clear(x_btd, valid_bt)

    @staticmethod
    def _positions(x_btd: Tensor, places_t: Tensor | None = None) -> Tensor:
        """[cos | sin] of the frame number: (t, d). Computed, not kept: a buffer would be rounded by .to(bfloat16)."""
        _, frames, dim = x_btd.shape
        place_t = torch.arange(frames, device=x_btd.device) if places_t is None else places_t
        angle = place_t.clamp(max=MAX_POSITION - 1)[:, None] * frequencies(dim // 2, 10000.0, x_btd.device)
        return torch.cat([angle.cos(), angle.sin()], dim=-1).to(x_btd.dtype)
