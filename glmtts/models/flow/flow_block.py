"""A block of the flow as one function of fixed shapes: all solver steps, with and without the condition.

Sequences are padded to the shape and masked, so each gets what it gets alone. What a row's padding holds changes
nothing; only that of the past must not be NaN.
Dimension names: b sequences, t frames, p frames before them, s all these frames, n the last of the past, m mel bins, d
channels, k numbers of a sequence.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from glmtts.models.flow.dit_cache import KV, PastKV, StepKV
from glmtts.models.flow.dit_inputs import HALO
from glmtts.models.flow.dit_layers import Modulation
from glmtts.models.flow.flow import Flow
from glmtts.models.graphs import Layout, Outputs

FRAMES, TEXT_CONTEXT, PAST, HIDDEN, OFFSET, KEPT_END = range(6)
"""The columns of a block's `counts_bk`: a sequence's own frames, the frames before it that it has tokens of, keys and
values of, and hidden states of, the position of its first frame, and the frame up to which it is cached."""


class BlockShape(NamedTuple):
    """A block of at most `rows` sequences of at most `frames` frames, after at most `context` others.

    The keys and values of at most `kept` frames come out.
    """

    rows: int
    frames: int
    context: int
    kept: int

    def holds(self, other: BlockShape) -> bool:
        """Whether a smaller block can be padded to this one."""
        return all(own >= needed for own, needed in zip(self, other, strict=True))

    @property
    def cost(self) -> int:
        """What it takes, to compare it with others."""
        return self.rows * (self.frames + self.context + self.kept)


def block_layout(flow: Flow, shape: BlockShape) -> Layout:
    """The buffers of a block, inputs and outputs."""
    rows, frames, context, kept = shape
    dit, steps, sides = flow.config.dit, flow.config.n_timesteps, flow.cfg_batch
    hidden = flow.estimator.emb_concator.proj.weight.dtype
    wide = flow.estimator.transformer_blocks.get_parameter("0.attn.to_k.weight").dtype
    kv = (steps, dit.depth, sides, rows, dit.heads)
    return {
        "noise_btm": ((rows, frames, dit.mel_dim), torch.float32),
        "cond_btm": ((rows, frames, dit.mel_dim), torch.float32),
        "tokens_bs": ((rows, context + frames), torch.int64),
        "positions_bs": ((rows, context + frames), torch.int64),
        "speaker_bd": ((rows, flow.config.spk_embed_dim), torch.float32),
        "counts_bk": ((rows, 6), torch.int64),
        "past_keys": ((*kv, context, dit.dim_head), wide),
        "past_values": ((*kv, context, dit.dim_head), wide),
        "past_hidden": ((steps, sides, rows, HALO if context else 0, dit.trans_dim), hidden),
        "mel_btm": ((rows, frames, dit.mel_dim), torch.float32),
        "kept_keys": ((*kv, kept, dit.dim_head), wide),
        "kept_values": ((*kv, kept, dit.dim_head), wide),
        "kept_hidden": ((steps, sides, rows, HALO if kept else 0, dit.trans_dim), hidden),
    }


def solve_block(flow: Flow, times: Tensor, buffers: dict[str, Tensor], shape: BlockShape) -> Outputs:
    """Solves the block in `buffers`, which are those of `block_layout`: writes `mel_btm` and, of the last frames before
    each sequence's KEPT_END, `kept_keys`, `kept_values` and `kept_hidden`. Reads no value and has no shape but these.
    """
    counts_bk = buffers["counts_bk"]
    valid_bt = _first(counts_bk[:, FRAMES], shape.frames)
    valid_bs = torch.cat([_last(counts_bk[:, TEXT_CONTEXT], shape.context), valid_bt], dim=1)
    inputs = flow.prepare_inputs(
        buffers["tokens_bs"], buffers["cond_btm"], buffers["speaker_bd"],
        valid_bt=valid_bs, positions_t=buffers["positions_bs"],
    )  # fmt: skip
    x_btm, steps = buffers["noise_btm"], len(times) - 1
    modulations = _modulations(flow, times, inputs.spk_bd)
    for step in range(steps):
        output = flow.velocity(
            x_btm, inputs, times[step].expand(shape.rows), valid_bt=valid_bt, past=_past(buffers, step, shape),
            use_cache=shape.kept > 0, modulations=[tuple(part[step] for part in parts) for parts in modulations],
        )  # fmt: skip
        x_btm = x_btm + (times[step + 1] - times[step]) * output.velocity_btm
        if output.kv is not None:
            _keep(buffers, step, output.kv, shape)
    buffers["mel_btm"].copy_(x_btm)
    return (buffers["mel_btm"],)


def _modulations(flow: Flow, times: Tensor, spk_bd: Tensor) -> list[Modulation]:
    """Those of all solver steps, each (steps, b, 1, d): at once, as they depend on times and speakers alone."""
    steps, rows = len(times) - 1, len(spk_bd)
    time_b = times[:-1, None].expand(steps, rows).flatten()
    together = flow.estimator.modulations(time_b, spk_bd.repeat(steps, 1))
    return [tuple(part.view(steps, rows, 1, -1) for part in parts) for parts in together]


def _past(buffers: dict[str, Tensor], step: int, shape: BlockShape) -> PastKV | None:
    """The frames before a block at a solver step: those of a row are its last ones."""
    if not shape.context:
        return None
    keys, values = (buffers[name][step].flatten(1, 2) for name in ("past_keys", "past_values"))
    sides = keys.shape[1] // shape.rows
    counts_bk = buffers["counts_bk"].repeat(sides, 1)
    return PastKV(
        [KV(keys, values)],
        _last(counts_bk[:, PAST], shape.context),
        buffers["past_hidden"][step].flatten(0, 1),
        _last(counts_bk[:, HIDDEN], HALO),
        counts_bk[:, OFFSET],
    )


def _keep(buffers: dict[str, Tensor], step: int, kv: StepKV, shape: BlockShape) -> None:
    """Writes the frames before KEPT_END: (layers, b, h, t, d) to (layers, sides, rows, h, kept, d)."""
    end_b1 = buffers["counts_bk"][:, KEPT_END].repeat(kv.keys.shape[1] // shape.rows)[:, None]
    kept_bk, hidden_bn = (
        (end_b1 + torch.arange(-count, 0, device=end_b1.device)).clamp(0, shape.frames - 1)
        for count in (shape.kept, HALO)
    )
    for name, computed in (("kept_keys", kv.keys), ("kept_values", kv.values)):
        index = kept_bk[:, None, :, None].expand(*computed.shape[:3], -1, computed.shape[-1])
        buffers[name][step].copy_(computed.gather(3, index).view_as(buffers[name][step]))
    index = hidden_bn[:, :, None].expand(-1, -1, kv.hidden_btd.shape[-1])
    buffers["kept_hidden"][step].copy_(kv.hidden_btd.gather(1, index).view_as(buffers["kept_hidden"][step]))


def _first(count_b: Tensor, size: int) -> Tensor:
    """Bool (b, size): the first of each row."""
    return torch.arange(size, device=count_b.device) < count_b[:, None]


def _last(count_b: Tensor, size: int) -> Tensor:
    """Bool (b, size): the last of each row."""
    return torch.arange(size, device=count_b.device) >= size - count_b[:, None]
