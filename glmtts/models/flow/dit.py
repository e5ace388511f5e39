"""DiT, the flow's estimator: the velocity of a noisy mel, given tokens, a mel condition, time and a speaker.

Attribute names are those of published checkpoints, so a state dict loads strictly.
Dimension names: b batch, t time in mel frames, p past frames, m mel bins, c/d channels, h heads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glmtts.config import DiTConfig
from glmtts.errors import CheckpointError
from glmtts.models.flow.dit_cache import KV, PastKV, StepKV
from glmtts.models.flow.dit_inputs import InputEmbedding, TimeEmbedding
from glmtts.models.flow.dit_layers import AdaLayerNorm, DiTBlock, Modulation, Rotary, modulate
from glmtts.models.flow.text_embedding import TextEmbedding, mask_padding

NULL_TOKEN = 0


def block_mask(frames: int, blocks: Sequence[int], *, device: torch.device | str | None = None) -> Tensor:
    """Which frames (columns) each frame (row) attends to when the mel is made block by block: bool (frames, frames).

    `blocks`: sizes in frames, each >= 1; the last one repeats. Frame i with r frames left in its block of B
    attends up to the block's end + max(0, m - r), where m = B // 2 for B <= 172 and int(B / 1.5) above.
    ValueError if `blocks` is empty or has a size below 1.
    """
    if not blocks or min(blocks) < 1:
        raise ValueError(f"block sizes: expected at least one, each at least 1 frame, got {list(blocks)}")
    repeats = max(0, math.ceil((frames - sum(blocks)) / blocks[-1]))
    size_k = torch.tensor([*blocks, *[blocks[-1]] * repeats], device=device)
    look_k = torch.where(size_k <= 172, size_k // 2, (size_k / 1.5).long())
    end_k = size_k.cumsum(0)
    frame_t = torch.arange(frames, device=device)
    block_t = torch.bucketize(frame_t, end_k, right=True)
    left_t = end_k[block_t] - 1 - frame_t
    horizon_t = end_k[block_t] + (look_k[block_t] - left_t).clamp(min=0)
    return frame_t[None, :] < horizon_t[:, None]


@dataclass(frozen=True, eq=False)
class DiTInputs:
    """Inputs of one pass. Tensors are cast to the weights' dtype.

    x_btm: the noisy mel. tokens_btd: frames' tokens, embedded by `DiT.text_emb_layer`: once for all solver steps.
    cond_btc: the prompt's mel, zeros after it. time_b: solver time in [0, 1].
    spk_bd: speaker vectors as they are concatenated (the sampler normalises them); unused without adaLN.
    valid_bt: bool, False = padding, at least one valid frame per row; None = all valid.
    attention_bias_tt: bool (True = attends) or float, added to the scores; each frame must attend to a valid one.
    """

    x_btm: Tensor
    tokens_btd: Tensor
    cond_btc: Tensor
    time_b: Tensor
    spk_bd: Tensor
    valid_bt: Tensor | None = None
    attention_bias_tt: Tensor | None = None


class DiTOutput(NamedTuple):
    """velocity_btm: in the dtype of the noisy mel, 0 in padding. kv: with `use_cache`, what later frames need."""

    velocity_btm: Tensor
    kv: StepKV | None


class DiT(nn.Module):
    """The estimator. A new one has PyTorch's initialisation; training starts with `reset_parameters()`."""

    def __init__(self, config: DiTConfig, spk_dim: int = 192) -> None:
        super().__init__()
        if config.wav_lm_emb:
            raise CheckpointError("wav_lm_emb: expected false, got true")
        self.config = config
        time_dim = config.trans_dim if config.time_dim is None else config.time_dim
        cond_dim = time_dim + (spk_dim if config.spkr_emb_adaLN else 0)
        self.time_embed = TimeEmbedding(time_dim)
        self.text_emb_layer = TextEmbedding(config.text_vocab_size, config.text_emb_dim, config.conv_layers)
        features = config.mel_dim + config.condition_dim + config.text_emb_dim
        self.emb_concator = InputEmbedding(features, config.trans_dim)
        self.rotary_embed = Rotary(config.dim_head)
        self.transformer_blocks = nn.ModuleList(DiTBlock(config, cond_dim) for _ in range(config.depth))
        self.norm_out = AdaLayerNorm(config.trans_dim, cond_dim, parts=2, scales=(0,))
        self.proj_out = nn.Linear(config.trans_dim, config.mel_dim)

    def reset_parameters(self) -> None:
        """adaLN-zero: every block starts as the identity and the velocity at zero."""
        norms = [module for module in self.modules() if isinstance(module, AdaLayerNorm)]
        for linear in (*(norm.linear for norm in norms), self.proj_out):
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)

    def to_bfloat16(self) -> None:
        """Casts the large matrices and kernels, which are nearly all of the work, to bfloat16. Norms, modulation and
        the residual stream stay in float32: in bfloat16 throughout, the mel hisses."""
        self.emb_concator.conv_pos_embed.bfloat16()
        for block in self.transformer_blocks:
            assert isinstance(block, DiTBlock)
            block.attn.bfloat16()
            block.ff.bfloat16()

    @property
    def matrix_dtype(self) -> torch.dtype:
        """Of the large matrices, and so of the keys and values."""
        return self.transformer_blocks.get_parameter("0.attn.to_k.weight").dtype

    def modulations(self, time_b: Tensor, spk_bd: Tensor) -> list[Modulation]:
        """How time and speaker modulate each block, and last the output."""
        cond_bd: Tensor = self.time_embed(time_b)
        if self.config.spkr_emb_adaLN:
            cond_bd = torch.cat([cond_bd, spk_bd.to(self.proj_out.weight.dtype)], dim=-1)
        activated_bd = F.silu(cond_bd)
        blocks = cast("list[DiTBlock]", list(self.transformer_blocks))
        return [norm(activated_bd) for norm in (*(block.attn_norm for block in blocks), self.norm_out)]

    def forward(
        self,
        inputs: DiTInputs,
        past: PastKV | None = None,
        *,
        use_cache: bool = False,
        modulations: Sequence[Modulation] | None = None,
    ) -> DiTOutput:
        """The velocity (b, t, m). With `past`, the frames follow others, which are not computed again.

        use_cache: whether to return what frames after these need. An attention bias excludes `past`.
        modulations: those of the inputs' time and speakers, if they have been computed.
        """
        assert past is None or inputs.attention_bias_tt is None
        dtype = self.proj_out.weight.dtype
        *modulations, (gain, shift) = modulations or self.modulations(inputs.time_b, inputs.spk_bd)
        h_btd, hidden_btd = self.emb_concator(
            inputs.x_btm.to(dtype), inputs.cond_btc.to(dtype), inputs.tokens_btd, inputs.valid_bt, past
        )
        rotary = self.rotary_embed(h_btd.shape[1], h_btd, None if past is None else past.offset_b)
        mask = _attention_mask(inputs, past, self.matrix_dtype)
        layers: list[KV] = []
        for index, (block, modulation) in enumerate(zip(self.transformer_blocks, modulations, strict=True)):
            h_btd, kv = block(h_btd, modulation, rotary, mask, () if past is None else past.layer(index))
            if use_cache:
                layers.append(kv)
        velocity_btm = mask_padding(self.proj_out(modulate(h_btd, shift, gain)), inputs.valid_bt)
        return DiTOutput(velocity_btm.to(inputs.x_btm.dtype), StepKV.of(layers, hidden_btd) if use_cache else None)


def _attention_mask(inputs: DiTInputs, past: PastKV | None, dtype: torch.dtype) -> Tensor | None:
    """What is added to the scores of all heads, of `dtype`, (b or 1, 1, t or 1, p + t); None if all attend to all."""
    valid_bt, bias_tt = inputs.valid_bt, inputs.attention_bias_tt
    if past is not None:
        valid_bt = past.attention_valid(valid_bt, inputs.x_btm.shape[1])
    mask = None if bias_tt is None else _bias(bias_tt, dtype)
    if valid_bt is None:
        return mask
    valid_b11t = valid_bt[:, None, None, :]
    return _bias(valid_b11t, dtype) if mask is None else mask.masked_fill(~valid_b11t, -math.inf)


def _bias(attends: Tensor, dtype: torch.dtype) -> Tensor:
    """Scores to add: 0 where it is true, −∞ elsewhere; a float tensor is them already. Once, not in each layer."""
    if attends.dtype != torch.bool:
        return attends.to(dtype)
    return torch.zeros_like(attends, dtype=dtype).masked_fill_(~attends, -math.inf)
