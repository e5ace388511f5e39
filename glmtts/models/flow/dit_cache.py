"""Keys and values of earlier frames, which later frames attend to without recomputing them.

Earlier frames do not attend to later ones: in a stream they have been played by then.
Dimension names: b batch, t frames of this pass, p past frames, n the last of the past frames, h heads, d channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class KV(NamedTuple):
    """Keys and values: (b, h, t, d) in one layer, (layers, b, h, t, d) in all of them."""

    keys: Tensor
    values: Tensor


def concatenate(segments: Sequence[KV]) -> KV:
    """Consecutive segments of one layer as one."""
    if len(segments) == 1:
        return segments[0]  # torch.cat would copy it
    return KV(torch.cat([kv.keys for kv in segments], dim=2), torch.cat([kv.values for kv in segments], dim=2))


class StepKV(NamedTuple):
    """What a pass computed that later frames need: keys and values (layers, b, h, t, d), and the hidden states before
    the position embedding (b, t, d)."""

    keys: Tensor
    values: Tensor
    hidden_btd: Tensor

    @staticmethod
    def of(layers: Sequence[KV], hidden_btd: Tensor) -> StepKV:
        """From the keys and values of each layer."""
        keys, values = zip(*layers, strict=True)
        return StepKV(torch.stack(keys), torch.stack(values), hidden_btd)

    def sequence(self, index: int, cfg_batch: int) -> StepKV:
        """The rows of one sequence: the batch has all sequences with their condition, then all without."""
        rows = slice(index, None, len(self.hidden_btd) // cfg_batch)
        return StepKV(self.keys[:, rows], self.values[:, rows], self.hidden_btd[rows])

    def frames(self, start: int, stop: int) -> StepKV:
        """Frames [start, stop) only; views."""
        return StepKV(self.keys[..., start:stop, :], self.values[..., start:stop, :], self.hidden_btd[:, start:stop])


@dataclass(frozen=True, eq=False)
class PastKV:
    """The frames before those of a pass, for each row of its batch.

    segments: consecutive stretches of past frames, each padded in front: (layers, b, h, p, d).
    valid_bp: bool, which frames of all segments are not padding; None if none is padding.
    hidden_bnd: hidden states of the last n ≤ HALO past frames. hidden_valid_bn: bool, which are not padding.
    offset_b: int64 (b,), the position of the pass's first frame: past frames that were dropped count too.
    """

    segments: Sequence[KV]
    valid_bp: Tensor | None
    hidden_bnd: Tensor
    hidden_valid_bn: Tensor
    offset_b: Tensor

    def layer(self, index: int) -> list[KV]:
        """Keys and values of one layer, segment by segment."""
        return [KV(segment.keys[index], segment.values[index]) for segment in self.segments]

    def attention_valid(self, valid_bt: Tensor | None, frames: int) -> Tensor | None:
        """Which past frames and which of the pass's own `frames` are not padding, bool (b, p + t); None = all."""
        if self.valid_bp is None and valid_bt is None:
            return None
        batch, past = len(self.offset_b), sum(segment.keys.shape[-2] for segment in self.segments)
        parts = [
            torch.ones(batch, count, dtype=torch.bool, device=self.offset_b.device) if valid is None else valid
            for valid, count in ((self.valid_bp, past), (valid_bt, frames))
        ]
        return torch.cat(parts, dim=1)
