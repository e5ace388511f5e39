"""DiT, the flow's estimator: the velocity of a noisy mel, given tokens, a mel condition, time and a speaker.

Attribute names are those of published checkpoints, so a state dict loads strictly.
Knows nothing about solvers, guidance, prompts or files: `glmtts.models.flow` does.
Dimension names: b batch, t time in mel frames, n tokens, c/d channels, h heads.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glmtts.config import DiTConfig
from glmtts.errors import CheckpointError
from glmtts.models.dit_inputs import InputEmbedding, TimeEmbedding
from glmtts.models.dit_past import Past, Trace, seen
from glmtts.models.token_trunk import TokenTrunk, clear, frequencies, stretch

__all__ = ["NULL_TOKEN", "DiT", "block_mask", "stretch"]

NULL_TOKEN = 0
NORM_EPS = 1e-6


def block_mask(frames: int, blocks: Sequence[int], *, device: torch.device | str | None = None) -> Tensor:
    """Which frame (column) each frame (row) sees when mel is made block by block: bool (frames, frames).

    `blocks`: sizes in frames, each >= 1; the last one repeats. Frame i with r frames left in its block of B
    sees to the block's end + max(0, m - r), where m = B // 2 for B <= 172 and int(B / 1.5) above.
    """
    if not blocks or min(blocks) < 1:
        raise ValueError(f"block sizes {list(blocks)}: want at least one, each at least 1 frame")
    repeats = max(0, math.ceil((frames - sum(blocks)) / blocks[-1]))
    size_k = torch.tensor([*blocks, *[blocks[-1]] * repeats], device=device)
    look_k = torch.where(size_k <= 172, size_k // 2, (size_k / 1.5).long())
    end_k = size_k.cumsum(0)
    frame_t = torch.arange(frames, device=device)
    block_t = torch.bucketize(frame_t, end_k, right=True)
    left_t = end_k[block_t] - 1 - frame_t
    horizon_t = end_k[block_t] + (look_k[block_t] - left_t).clamp(min=0)
    return frame_t[None, :] < horizon_t[:, None]


class AdaLayerNorm(nn.Module):
    """The projection that turns time (and speaker) into `parts` modulation vectors of (b, 1, d)."""

    def __init__(self, dim: int, cond_dim: int, parts: int) -> None:
        super().__init__()
        self.linear = nn.Linear(cond_dim, dim * parts)
        self.parts = parts

    def forward(self, cond_bd: Tensor) -> tuple[Tensor, ...]:
        return self.linear(F.silu(cond_bd))[:, None].chunk(self.parts, dim=-1)  # type: ignore[no-any-return]


def _modulated(x_btd: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
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
        seen = self.attn(_modulated(x_btd, shift_a, scale_a), rotary, mask, before, trace)
        x_btd = torch.addcmul(x_btd, gate_a, seen)
        return torch.addcmul(x_btd, gate_m, self.ff(_modulated(x_btd, shift_m, scale_m)))


class DiT(nn.Module):
    """The estimator. A fresh one has PyTorch's initialisation; training starts with `reset_parameters()`."""

    def __init__(self, config: DiTConfig, spk_dim: int = 192) -> None:
        super().__init__()
        if config.wav_lm_emb:
            raise CheckpointError("wav_lm_emb: true came, but only false is known")
        self.config = config
        cond_dim = config.trans_dim + (spk_dim if config.spkr_emb_adaLN else 0)
        self.time_embed = TimeEmbedding(config.trans_dim)
        self.text_emb_layer = TokenTrunk(config.text_vocab_size, config.text_emb_dim, config.conv_layers)
        features = config.mel_dim + config.condition_dim + config.text_emb_dim
        self.emb_concator = InputEmbedding(features, config.trans_dim)
        self.rotary_embed = Rotary(config.dim_head)
        self.transformer_blocks = nn.ModuleList(Block(config, cond_dim) for _ in range(config.depth))
        self.norm_out = AdaLayerNorm(config.trans_dim, cond_dim, parts=2)
        self.proj_out = nn.Linear(config.trans_dim, config.mel_dim)

    def reset_parameters(self) -> None:
        """adaLN-zero: every block starts as the identity, and the velocity as zero."""
        norms = [module for module in self.modules() if isinstance(module, AdaLayerNorm)]
        for linear in (*(norm.linear for norm in norms), self.proj_out):
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)

    def halve(self) -> None:
        """Takes the large matrices and kernels, nearly all of the work, to bfloat16. What is added up stays as it is:
        in bfloat16 throughout, the mel gets a hiss."""
        self.emb_concator.conv_pos_embed.bfloat16()
        for block in self.transformer_blocks:
            assert isinstance(block, Block)
            block.attn.bfloat16()
            block.ff.bfloat16()

    def forward(
        self,
        x_btm: Tensor,
        tokens_bt: Tensor,
        cond_btc: Tensor,
        time_b: Tensor,
        spk_bd: Tensor,
        *,
        valid_bt: Tensor | None = None,
        attention_bias_tt: Tensor | None = None,
    ) -> Tensor:
        """Velocity (b, t, mel) at `time_b` in [0, 1].

        tokens_bt: int ids, stretched to frames, 0 = null. cond_btc: the prompt's mel, zeros after it.
        spk_bd: speaker vector as it shall be concatenated (the sampler normalises it); unread without adaLN.
        valid_bt: bool, False = padding, at least one frame a row valid; None = all valid. Padding gets velocity 0.
        attention_bias_tt: bool (True = sees) or float to add to the scores; a frame must see a valid frame.
        """
        return self.velocity(
            x_btm,
            self.text_emb_layer(tokens_bt, valid_bt),
            cond_btc,
            time_b,
            spk_bd,
            valid_bt=valid_bt,
            attention_bias_tt=attention_bias_tt,
        )

    def velocity(
        self,
        x_btm: Tensor,
        tokens_btd: Tensor,
        cond_btc: Tensor,
        time_b: Tensor,
        spk_bd: Tensor,
        *,
        valid_bt: Tensor | None = None,
        attention_bias_tt: Tensor | None = None,
    ) -> Tensor:
        """`forward` from tokens that `text_emb_layer` has embedded, which a solver does once for all its steps.

        Inputs are taken to the weights' dtype; the velocity has that of `x_btm`, so a solver can add up in float32.
        """
        return self._estimate(x_btm, tokens_btd, cond_btc, time_b, spk_bd, valid_bt, attention_bias_tt, None, None)[0]

    def following(
        self,
        x_btm: Tensor,
        tokens_btd: Tensor,
        cond_btc: Tensor,
        time_b: Tensor,
        spk_bd: Tensor,
        past: Past | None,
        *,
        valid_bt: Tensor | None = None,
    ) -> tuple[Tensor, Trace]:
        """`velocity` of frames that follow others, which are not computed again; and their own trace."""
        layers: list[tuple[Tensor, Tensor]] = []
        velocity, hidden_btd = self._estimate(x_btm, tokens_btd, cond_btc, time_b, spk_bd, valid_bt, None, past, layers)
        keys, values = zip(*layers, strict=True)
        return velocity, Trace(torch.stack(keys), torch.stack(values), hidden_btd)

    def _estimate(
        self,
        x_btm: Tensor,
        tokens_btd: Tensor,
        cond_btc: Tensor,
        time_b: Tensor,
        spk_bd: Tensor,
        valid_bt: Tensor | None,
        bias_tt: Tensor | None,
        past: Past | None,
        trace: list[tuple[Tensor, Tensor]] | None,
    ) -> tuple[Tensor, Tensor]:
        """The velocity, and the frames before the position embedding. Notes each layer's keys and values in `trace`."""
        dtype = self.proj_out.weight.dtype
        cond_bd: Tensor = self.time_embed(time_b)
        if self.config.spkr_emb_adaLN:
            cond_bd = torch.cat([cond_bd, spk_bd.to(dtype)], dim=-1)
        halo = past.halo if past is not None else None
        h_btd, hidden_btd = self.emb_concator(x_btm.to(dtype), cond_btc.to(dtype), tokens_btd, valid_bt, halo)
        rotary = self.rotary_embed(h_btd.shape[1], h_btd, past.first_b if past is not None else None)
        mask = _attention_mask(seen(valid_bt, past, h_btd), bias_tt, dtype)
        for index, block in enumerate(self.transformer_blocks):
            h_btd = block(h_btd, cond_bd, rotary, mask, past.layer(index) if past is not None else (), trace)
        scale, shift = self.norm_out(cond_bd)  # this order, unlike the blocks'
        return clear(self.proj_out(_modulated(h_btd, shift, scale)), valid_bt).to(x_btm.dtype), hidden_btd


def _attention_mask(valid_bt: Tensor | None, bias_tt: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """One mask for all heads, bool or of `dtype`, that broadcasts to (b, h, t, t); None where everything is seen."""
    if bias_tt is not None and bias_tt.dtype != torch.bool:
        bias_tt = bias_tt.to(dtype)
    if valid_bt is None:
        return bias_tt
    seen = valid_bt[:, None, None, :]
    if bias_tt is None:
        return seen
    return bias_tt & seen if bias_tt.dtype == torch.bool else bias_tt.masked_fill(~seen, -math.inf)
