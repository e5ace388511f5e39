"""Windows of several utterances in one vocoder batch, each giving the samples that its whole utterance has there.

No mask is needed: a window's outermost frames are context whose sound is not used, so what is padded beside them
changes nothing; only at an utterance's own start or end must nothing be padded. Therefore windows that end their
utterance are aligned on the right, all others on the left, and one that does both stands alone. Lengths are rounded up,
as CPU libraries compile each of the vocoder's convolutions for each length and keep the result.
Knows nothing about jobs, blocks or the flow. Dimension names: b batch, t time in mel frames, m mel bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from glmtts.models.vocoder.interface import Vocoder

LENGTH_STEP = 20
"""Frames that the length of a batch is a multiple of. A new length takes as long as its sound, and 2 MiB."""


@dataclass(frozen=True, eq=False)
class Window:
    """Mel (t, m) from an utterance's frame `first` on; its first `history` frames have been sound before, and `phase`
    (float64) is the source's at the last of them. `key` (int64) decides the noise; `ends`: no frame follows."""

    mel_tm: Tensor
    key: Tensor
    first: int
    history: int
    phase: Tensor
    ends: bool


def render(vocoder: Vocoder, windows: Sequence[Window]) -> list[tuple[Tensor, Tensor]]:
    """For each window its samples (t × hop), float32, and the source's phase at each frame (t,)."""
    found: dict[int, tuple[Tensor, Tensor]] = {}
    for right, indices in _groups(vocoder, windows):
        group = [windows[i] for i in indices]
        found.update(zip(indices, _batch(vocoder, group, right), strict=True))
    return [found[i] for i in range(len(windows))]


def _groups(vocoder: Vocoder, windows: Sequence[Window]) -> list[tuple[bool, list[int]]]:
    """What can be one batch: whether it is aligned on the right, and which windows."""
    if not vocoder.is_windowable:
        return [(False, [i]) for i in range(len(windows))]
    alone = [i for i, window in enumerate(windows) if window.ends and window.first == 0]
    last = [i for i, window in enumerate(windows) if window.ends and window.first > 0]
    other = [i for i, window in enumerate(windows) if not window.ends]
    return [*((False, [i]) for i in alone), *((right, rows) for right, rows in ((True, last), (False, other)) if rows)]


def _length(vocoder: Vocoder, group: Sequence[Window]) -> int:
    """Frames of the batch, padding included."""
    longest = max(len(window.mel_tm) for window in group)
    whole = any(window.ends and window.first == 0 for window in group)
    return longest if whole or not vocoder.is_windowable else -(-longest // LENGTH_STEP) * LENGTH_STEP


def _batch(vocoder: Vocoder, group: Sequence[Window], right: bool) -> list[tuple[Tensor, Tensor]]:
    longest = _length(vocoder, group)
    gaps = [longest - len(window.mel_tm) for window in group]
    before = gaps if right else [0] * len(group)
    mel_btm = torch.stack(
        [
            F.pad(window.mel_tm, (0, 0, front, gap - front))
            for window, gap, front in zip(group, gaps, before, strict=True)
        ]
    )
    device = mel_btm.device
    first_b = torch.tensor([window.first - front for window, front in zip(group, before, strict=True)], device=device)
    history_b = torch.tensor([w.history + front for w, front in zip(group, before, strict=True)], device=device)
    wave_bs, phase_bt = vocoder.render_window(
        mel_btm.transpose(1, 2).contiguous(),
        torch.stack([window.key for window in group]),
        start_frame=first_b,
        history=history_b,
        phase_b=torch.stack([window.phase for window in group]),
    )
    results = []
    for row, (window, front) in enumerate(zip(group, before, strict=True)):
        end = front + len(window.mel_tm)
        results.append((wave_bs[row, front * vocoder.hop : end * vocoder.hop], phase_bt[row, front:end]))
    return results
