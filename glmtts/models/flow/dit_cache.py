"""What frames of the DiT leave behind for frames that follow them, so that these need not compute them again.

The frames before see nothing of those that follow: as in a stream, where they have been heard already. Knows nothing
about the model, about blocks of a stream or how long anything is kept.
Dimension names: b batch, t time in mel frames, p frames of the past, h heads, d channels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Trace(NamedTuple):
    """What frames leave behind at one solver step: their keys and values (layers, b, h, t, d), and what they were
    before the position embedding (b, t, d)."""

    keys: Tensor
    values: Tensor
    hidden_btd: Tensor


class Past(NamedTuple):
    """Traces of the frames before those at hand, which do not see these. Each of `parts` is keys and values (layers, b,
    h, p, d); they stand side by side. halo: hidden of the last frames (b, n, d), n ≤ HALO, and which are there (b, n).
    valid_bp: which frames of all parts are there; None = all. first_b: how many frames lie before those at hand."""

    parts: Sequence[tuple[Tensor, Tensor]]
    halo: tuple[Tensor, Tensor]
    valid_bp: Tensor | None
    first_b: Tensor

    def layer(self, index: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Keys and values of one layer, part by part."""
        return ((keys[index], values[index]) for keys, values in self.parts)


def seen(valid_bt: Tensor | None, past: Past | None, h_btd: Tensor) -> Tensor | None:
    """Which frames of the past and of those at hand are there; None = all."""
    if past is None or (past.valid_bp is None and valid_bt is None):
        return valid_bt
    frames = sum(keys.shape[3] for keys, _ in past.parts)
    parts = [
        torch.ones(h_btd.shape[0], count, dtype=torch.bool, device=h_btd.device) if valid is None else valid
        for valid, count in ((past.valid_bp, frames), (valid_bt, h_btd.shape[1]))
    ]
    return torch.cat(parts, dim=1)
