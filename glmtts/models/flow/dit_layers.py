"""The layers of the DiT: rotary embedding, attention, feed-forward, and adaLN modulation by time and speaker.

Attribute names are those of published checkpoints.
Dimension names: b batch, t time in mel frames, d channels, h heads.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glmtts.config import DiTConfig
from glmtts.models.flow.dit_cache import KV, concatenate
from glmtts.models.flow.text_embedding import inverse_frequencies

NORM_EPS = 1e-6


class AdaLayerNorm(nn.Module):
    """The projection that turns time (and speaker) into `parts` modulation vectors of (b, 1, d)."""

    def __init__(self, dim: int, cond_dim: int, parts: int) -> None:
        super().__init__()
        self.linear = nn.Linear(cond_dim, dim * parts)
        self.parts = parts

    def forward(self, cond_bd: Tensor) -> tuple[Tensor, ...]:
        return self.linear(F.silu(cond_bd))[:, None].chunk(self.parts, dim=-1)  # type: ignore[no-any-return]


def modulate(x_btd: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Layer norm over the channels, then scale and shift."""
    return torch.addcmul(shift, F.layer_norm(x_btd, x_btd.shape[-1:], eps=NORM_EPS), 1 + scale)


class Rotary(nn.Module):
    """Rotary embedding over interleaved pairs of channels, base 10000."""

    inv_freq: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        # Checkpoints have this buffer. The angles come from the formula, because .to(bfloat16) would round the buffer,
        # and at frame 1000 the rounding is a whole turn.
        self.register_buffer("inv_freq", inverse_frequencies(dim // 2, 10000.0, torch.device("cpu")))

    def forward(self, frames: int, like: Tensor, offset_b: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(cos, sin), each (frames, dim / 2); with `offset_b`, the first position of each row, (b, frames, dim / 2)."""
        position_t = torch.arange(frames, dtype=torch.float32, device=like.device)
        if offset_b is not None:
            position_t = position_t + offset_b[:, None]
        angle = position_t[..., None] * inverse_frequencies(self.inv_freq.shape[0], 10000.0, like.device)
        return angle.cos().to(like.dtype), angle.sin().to(like.dtype)


def _rotate_first_head(x_btd: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """Rotates the first head's channels only: the published model rotates before it splits the heads."""
    cos, sin = (table.to(x_btd.dtype) for table in rotary)  # float32 tables would promote q and k under autocast
    width = 2 * cos.shape[-1]
    even, odd = x_btd[..., 0:width:2], x_btd[..., 1:width:2]
    turned = torch.stack([even * cos - odd * sin, odd * cos + even * sin], dim=-1).flatten(-2)
    return torch.cat([turned, x_btd[..., width:]], dim=-1)


class Attention(nn.Module):
    """Multi-head attention over frames; rotary on the first head. Inputs are in the weights' dtype."""

    def __init__(self, dim: int, heads: int, dim_head: int) -> None:
        super().__init__()
        inner = heads * dim_head
        self.heads = heads
        self.to_q = nn.Linear(dim, inner)
        self.to_k = nn.Linear(dim, inner)
        self.to_v = nn.Linear(dim, inner)
        self.to_out = nn.ModuleList([nn.Linear(inner, dim)])

    def kv(self, x_btd: Tensor, rotary: tuple[Tensor, Tensor]) -> KV:
        """Keys and values of frames, each (b, h, t, d)."""
        return KV(self._split(_rotate_first_head(self.to_k(x_btd), rotary)), self._split(self.to_v(x_btd)))

    def forward(self, x_btd: Tensor, rotary: tuple[Tensor, Tensor], kv: KV, mask: Tensor | None) -> Tensor:
        """Attends from the frames `x_btd` to all frames of `kv`; `mask` broadcasts to (b, h, t, frames of kv)."""
        q_bhtd = self._split(_rotate_first_head(self.to_q(x_btd), rotary))
        y_bhtd = F.scaled_dot_product_attention(q_bhtd, kv.keys, kv.values, attn_mask=mask)
        out: Tensor = self.to_out[0](y_bhtd.transpose(1, 2).flatten(-2))
        return out

    def _split(self, x_btd: Tensor) -> Tensor:
        b, t, d = x_btd.shape
        return x_btd.view(b, t, self.heads, d // self.heads).transpose(1, 2)


class FeedForward(nn.Module):
    """Linear, tanh-GELU, Linear. The nesting and the Identity give the checkpoint's names."""

    def __init__(self, dim: int, mult: int) -> None:
        super().__init__()
        first = nn.Sequential(nn.Linear(dim, dim * mult), nn.GELU(approximate="tanh"))
        self.ff = nn.Sequential(first, nn.Identity(), nn.Linear(dim * mult, dim))

    def forward(self, x_btd: Tensor) -> Tensor:
        last = self.ff[2]
        assert isinstance(last, nn.Linear)
        return self.ff(x_btd.to(last.weight.dtype)).to(x_btd.dtype)  # type: ignore[no-any-return]


class DiTBlock(nn.Module):
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
        past: Sequence[KV] = (),
    ) -> tuple[Tensor, KV]:
        """The block's output (b, t, d), and its frames' own keys and values. `past`: those of the frames before."""
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = self.attn_norm(cond_bd)
        normed_btd = modulate(x_btd, shift_a, scale_a)
        inputs_btd = normed_btd.to(self.attn.to_q.weight.dtype)
        own = self.attn.kv(inputs_btd, rotary)
        attended_btd = self.attn(inputs_btd, rotary, concatenate([*past, own]), mask)
        x_btd = torch.addcmul(x_btd, gate_a, attended_btd.to(normed_btd.dtype))
        return torch.addcmul(x_btd, gate_m, self.ff(modulate(x_btd, shift_m, scale_m))), own
