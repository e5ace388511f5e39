"""DiT, the flow's estimator: the velocity of a noisy mel, given tokens, a mel condition, time and a speaker.

Attribute names are those of published checkpoints, so a state dict loads strictly.
Knows nothing about solvers, guidance, prompts or files: `glmtts.models.flow.flow` does.
Dimension names: b batch, t time in mel frames, n tokens, c/d channels, h heads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from glmtts.config import DiTConfig
from glmtts.errors import CheckpointError
from glmtts.models.flow.dit_cache import Past, Trace, seen
from glmtts.models.flow.dit_inputs import InputEmbedding, TimeEmbedding
from glmtts.models.flow.dit_layers import AdaLayerNorm, Block, Rotary, modulated
from glmtts.models.flow.text_embedding import TokenTrunk, clear, stretch

__all__ = ["NULL_TOKEN", "DiT", "block_mask", "stretch"]

NULL_TOKEN = 0


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


class DiT(nn.Module):
    """The estimator. A fresh one has PyTorch's initialisation; training starts with `reset_parameters()`."""

    def __init__(self, config: DiTConfig, spk_dim: int = 192) -> None:
        super().__init__()
        if config.wav_lm_emb:
            raise CheckpointError("wav_lm_emb: true came, but only false is known")
        self.config = config
        time_dim = config.trans_dim if config.time_dim is None else config.time_dim
        cond_dim = time_dim + (spk_dim if config.spkr_emb_adaLN else 0)
        self.time_embed = TimeEmbedding(time_dim)
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
        return clear(self.proj_out(modulated(h_btd, shift, scale)), valid_bt).to(x_btm.dtype), hidden_btd


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
