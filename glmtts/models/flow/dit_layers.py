"""The layers of the DiT: rotary embedding, attention, feed-forward, and adaLN modulation by time and speaker.

Attribute names are those of published checkpoints.
Dimension names: b batch, t time in mel frames, d channels, h heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glmtts.config import DiTConfig
from glmtts.models.flow.dit_cache import KV, concatenate
from glmtts.models.flow.text_embedding import inverse_frequencies
from glmtts.models.row_blocks import Linear

NORM_EPS = 1e-6


Modulation: TypeAlias = "tuple[Tensor, ...]"
"""Vectors of (b, 1, d): shifts, gains (one more than the projected scales) and gates."""


class AdaLayerNorm(nn.Module):
    """The projection that turns time (and speaker) into `parts` modulation vectors, those at `scales` plus one."""

    def __init__(self, dim: int, cond_dim: int, parts: int, scales: tuple[int, ...]) -> None:
        super().__init__()
        self.linear = nn.Linear(cond_dim, dim * parts)
        self.parts, self.scales = parts, scales

    def forward(self, activated_bd: Tensor) -> Modulation:
        """`activated_bd`: SiLU of the condition."""
        parts = self.linear(activated_bd)[:, None].chunk(self.parts, dim=-1)
        return tuple(1 + part if index in self.scales else part for index, part in enumerate(parts))


def modulate(x_btd: Tensor, shift: Tensor, gain: Tensor) -> Tensor:
    """Layer norm over the channels, then gain and shift."""
    return torch.addcmul(shift, F.layer_norm(x_btd, x_btd.shape[-1:], eps=NORM_EPS), gain)


class Rotary(nn.Module):
    """Rotary embedding over interleaved pairs of channels, base 10000."""

    inv_freq: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        # Checkpoints have this buffer. The angles come from the formula, because .to(bfloat16) would round the buffer,
        # and at frame 1000 the rounding is a whole turn.
        self.register_buffer("inv_freq", inverse_frequencies(dim // 2, 10000.0, torch.device("cpu")))

    def forward(self, frames: int, like: Tensor, offset_b: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """cos, and sin negated in even channels, (frames, dim), or with each row's first position (b, frames, dim).

        Both channels of a pair have the same angle.
        """
        position_t = torch.arange(frames, dtype=torch.float32, device=like.device)
        if offset_b is not None:
            position_t = position_t + offset_b[:, None]
        angle = position_t[..., None] * inverse_frequencies(self.inv_freq.shape[0], 10000.0, like.device)
        cos, sin = angle.cos().to(like.dtype), angle.sin().to(like.dtype)
        return torch.stack([cos, cos], dim=-1).flatten(-2), torch.stack([-sin, sin], dim=-1).flatten(-2)


def _rotate_first_head_(x_btd: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """Rotates the first head's channels only, in place: the published model rotates before it splits the heads."""
    cos, sin = (table.to(x_btd.dtype) for table in rotary)  # float32 tables would promote q and k under autocast
    head = x_btd[..., : cos.shape[-1]]
    swapped = head.reshape(*head.shape[:-1], -1, 2).flip(-1).flatten(-2)
    head.mul_(cos).addcmul_(swapped, sin)
    return x_btd


class Attention(nn.Module):
    """Multi-head attention over frames; rotary on the first head. Inputs are in the weights' dtype."""

    def __init__(self, dim: int, heads: int, dim_head: int) -> None:
        super().__init__()
        inner = heads * dim_head
        self.heads = heads
        self.to_q = Linear(dim, inner)
        self.to_k = Linear(dim, inner)
        self.to_v = Linear(dim, inner)
        self.to_out = nn.ModuleList([Linear(inner, dim)])

    def kv(self, x_btd: Tensor, rotary: tuple[Tensor, Tensor]) -> KV:
        """Keys and values of frames, each (b, h, t, d)."""
        return KV(self._split(_rotate_first_head_(self.to_k(x_btd), rotary)), self._split(self.to_v(x_btd)))

    def forward(self, x_btd: Tensor, rotary: tuple[Tensor, Tensor], kv: KV, mask: Tensor | None) -> Tensor:
        """Attends from the frames `x_btd` to all frames of `kv`; `mask` broadcasts to (b, h, t, frames of kv)."""
        q_bhtd = self._split(_rotate_first_head_(self.to_q(x_btd), rotary))
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
        first = nn.Sequential(Linear(dim, dim * mult), nn.GELU(approximate="tanh"))
        self.ff = nn.Sequential(first, nn.Identity(), Linear(dim * mult, dim))

    def forward(self, x_btd: Tensor) -> Tensor:
        last = self.ff[2]
        assert isinstance(last, nn.Linear)
        return self.ff(x_btd.to(last.weight.dtype)).to(x_btd.dtype)  # type: ignore[no-any-return]


class DiTBlock(nn.Module):
    """Attention and feed-forward, each shifted, scaled and gated by time (and speaker): adaLN-zero."""

    def __init__(self, config: DiTConfig, cond_dim: int) -> None:
        super().__init__()
        self.attn_norm = AdaLayerNorm(config.trans_dim, cond_dim, parts=6, scales=(1, 4))
        self.attn = Attention(config.trans_dim, config.heads, config.dim_head)
        self.ff = FeedForward(config.trans_dim, config.ff_mult)

    def forward(
        self,
        x_btd: Tensor,
        modulation: Modulation,
        rotary: tuple[Tensor, Tensor],
        mask: Tensor | None,
        past: Sequence[KV] = (),
    ) -> tuple[Tensor, KV]:
        """The block's output (b, t, d), and its frames' own keys and values. `past`: those of the frames before.

        modulation: what `attn_norm` returns.
        """
        shift_a, gain_a, gate_a, shift_m, gain_m, gate_m = modulation
        normed_btd = modulate(x_btd, shift_a, gain_a)
        inputs_btd = normed_btd.to(self.attn.to_q.weight.dtype)
        own = self.attn.kv(inputs_btd, rotary)
        attended_btd = self.attn(inputs_btd, rotary, concatenate([*past, own]), mask)
        x_btd = torch.addcmul(x_btd, gate_a, attended_btd.to(normed_btd.dtype))
        return torch.addcmul(x_btd, gate_m, self.ff(modulate(x_btd, shift_m, gain_m))), own
