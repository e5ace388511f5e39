"""The layers of the DiT: rotary places, attention, feed-forward, and how time and speaker modulate them.

Attribute names are those of published checkpoints. Knows nothing about mels, tokens or what a frame's past is.
Dimension names: b batch, t time in mel frames, d channels, h heads.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glmtts.config import DiTConfig
from glmtts.models.flow.text_embedding import frequencies

NORM_EPS = 1e-6


class AdaLayerNorm(nn.Module):
    """The projection that turns time (and speaker) into `parts` modulation vectors of (b, 1, d)."""

    def __init__(self, dim: int, cond_dim: int, parts: int) -> None:
        super().__init__()
        self.linear = nn.Linear(cond_dim, dim * parts)
        self.parts = parts

    def forward(self, cond_bd: Tensor) -> tuple[Tensor, ...]:
        return self.linear(F.silu(cond_bd))[:, None].chunk(self.parts, dim=-1)  # type: ignore[no-any-return]


def modulated(x_btd: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Normalised over its channels, then scaled and shifted."""
    return torch.addcmul(shift, F.layer_norm(x_btd, x_btd.shape[-1:], eps=NORM_EPS), 1 + scale)


class Rotary(nn.Module):
    """Rotary embedding over interleaved pairs of channels, base 10000."""

    inv_freq: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        # Checkpoints carry this buffer. The angles come from the formula: .to(bfloat16) would round the buffer,
        # which at frame 1000 is a turn too far.
        self.register_buffer("inv_freq", frequencies(dim // 2, 10000.0, torch.device("cpu")))

    def forward(self, frames: int, like: Tensor, first_b: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(cos, sin), each (frames, dim / 2), or (b, frames, dim / 2) when each row has a first place of its own."""
        place_t = torch.arange(frames, dtype=torch.float32, device=like.device)
        if first_b is not None:
            place_t = place_t + first_b[:, None]
        angle = place_t[..., None] * frequencies(self.inv_freq.shape[0], 10000.0, like.device)
        return angle.cos().to(like.dtype), angle.sin().to(like.dtype)


def _rotate_first_head(x_btd: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """Turns the first head's channels only. The published model rotates before it splits the heads: kept."""
    cos, sin = (table.to(x_btd.dtype) for table in rotary)  # float32 tables would promote q and k under autocast
    width = 2 * cos.shape[-1]
    even, odd = x_btd[..., 0:width:2], x_btd[..., 1:width:2]
    turned = torch.stack([even * cos - odd * sin, odd * cos + even * sin], dim=-1).flatten(-2)
    return torch.cat([turned, x_btd[..., width:]], dim=-1)


class Attention(nn.Module):
    """Multi-head attention over frames; rotary on the first head."""

    def __init__(self, dim: int, heads: int, dim_head: int) -> None:
        super().__init__()
        inner = heads * dim_head
        self.heads = heads
        self.to_q = nn.Linear(dim, inner)
        self.to_k = nn.Linear(dim, inner)
        self.to_v = nn.Linear(dim, inner)
        self.to_out = nn.ModuleList([nn.Linear(inner, dim)])

    def forward(
        self,
        x_btd: Tensor,
        rotary: tuple[Tensor, Tensor],
        mask: Tensor | None,
        before: Iterable[tuple[Tensor, Tensor]] = (),
        trace: list[tuple[Tensor, Tensor]] | None = None,
    ) -> Tensor:
        """`before`: keys and values of frames that are seen too. Notes its own in `trace`."""
        given, x_btd = x_btd.dtype, x_btd.to(self.to_q.weight.dtype)
        q = self._split(_rotate_first_head(self.to_q(x_btd), rotary))
        k = self._split(_rotate_first_head(self.to_k(x_btd), rotary))
        v = self._split(self.to_v(x_btd))
        if trace is not None:
            trace.append((k, v))
        if parts := tuple(before):
            k = torch.cat([*(keys for keys, _ in parts), k], dim=2)
            v = torch.cat([*(values for _, values in parts), v], dim=2)
        y_bhtd = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.to_out[0](y_bhtd.transpose(1, 2).flatten(-2)).to(given)  # type: ignore[no-any-return]

    def _split(self, x_btd: Tensor) -> Tensor:
        b, t, d = x_btd.shape
        return x_btd.view(b, t, self.heads, d // self.heads).transpose(1, 2)


class FeedForward(nn.Module):
    """Linear, tanh-GELU, Linear. The odd nesting and the Identity are the checkpoint's names."""

    def __init__(self, dim: int, mult: int) -> None:
        super().__init__()
        first = nn.Sequential(nn.Linear(dim, dim * mult), nn.GELU(approximate="tanh"))
        self.ff = nn.Sequential(first, nn.Identity(), nn.Linear(dim * mult, dim))

    def forward(self, x_btd: Tensor) -> Tensor:
        last = self.ff[2]
        assert isinstance(last, nn.Linear)
        return self.ff(x_btd.to(last.weight.dtype)).to(x_btd.dtype)  # type: ignore[no-any-return]


class Block(nn.Module):
    """Attention and feed-forward, each shifted, scaled and gated by time (and speaker): adaLN-zero."""

    def __init__(self, config: DiTConfig, cond_dim: int) -> None:
        super().__init__()
        self.attn_norm = AdaLayerNorm(config.trans_dim, cond_dim, parts=6)
        self.attn = Attention(config.trans_dim, config.heads, config.dim_head)
        self.ff = FeedForward(config.trans_dim, config.ff_mult)

    def forward(
        self,
        x_btd: Tensor,
        cond_bd: Tensor,
        rotary: tuple[Tensor, Tensor],
        mask: Tensor | None,
        before: Iterable[tuple[Tensor, Tensor]] = (),
        trace: list[tuple[Tensor, Tensor]] | None = None,
    ) -> Tensor:
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = self.attn_norm(cond_bd)
        seen = self.attn(modulated(x_btd, shift_a, scale_a), rotary, mask, before, trace)
        x_btd = torch.addcmul(x_btd, gate_a, seen)
        return torch.addcmul(x_btd, gate_m, self.ff(modulated(x_btd, shift_m, scale_m)))
