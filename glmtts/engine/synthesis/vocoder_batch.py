"""Vocoder windows of several utterances in one batch; each gives the samples that its whole utterance has there.

Shorter windows are padded without a mask: a window's outermost frames are context whose samples are dropped, so what
lies beside them changes nothing. Only an utterance's own first and last frame must not be padded. So windows with the
last frame are aligned right, all others left, and a window with both runs alone. Batch lengths are rounded up, as CPU
libraries compile each convolution for each length and keep the result.
Dimension names: b batch, t time in mel frames, m mel bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from glmtts.models.vocoder.interface import Vocoder

LENGTH_BUCKET = 20
"""Batch lengths are multiples of so many frames. A new length costs as much time as its audio lasts, and 2 MiB."""


@dataclass(frozen=True, eq=False)
class Window:
    """Mel (t, m) of an utterance, from its frame `start` on: `history` frames that were rendered before, `new` frames
    to render, and context after them."""

    mel_tm: Tensor
    key: Tensor
    """Decides the noise; int64 ()."""
    start: int
    history: int
    new: int
    phase: Tensor
    """The phase that an earlier window returned for the last frame of the history; float64 ()."""
    includes_last: bool
    """Whether the utterance ends with this window."""

    @property
    def end(self) -> int:
        """The utterance's frame after the rendered ones."""
        return self.start + self.history + self.new

    @property
    def is_whole(self) -> bool:
        """Whether the window is the whole utterance."""
        return self.includes_last and self.start == 0


def render_windows(vocoder: Vocoder, windows: Sequence[Window]) -> list[tuple[Tensor, Tensor]]:
    """For each window all its samples (t × hop), float32, and the phases at its frames (t,)."""
    results: dict[int, tuple[Tensor, Tensor]] = {}
    for align_right, indices in _groups(vocoder, windows):
        group = [windows[i] for i in indices]
        results.update(zip(indices, _render_group(vocoder, group, align_right), strict=True))
    return [results[i] for i in range(len(windows))]


def _groups(vocoder: Vocoder, windows: Sequence[Window]) -> list[tuple[bool, list[int]]]:
    """The batches: whether each is aligned right, and the indices of its windows."""
    if not vocoder.is_windowable:
        return [(False, [i]) for i in range(len(windows))]
    whole = [i for i, window in enumerate(windows) if window.is_whole]
    last = [i for i, window in enumerate(windows) if window.includes_last and not window.is_whole]
    other = [i for i, window in enumerate(windows) if not window.includes_last]
    shared = [(align_right, indices) for align_right, indices in ((True, last), (False, other)) if indices]
    return [*((False, [i]) for i in whole), *shared]


def _batch_frames(vocoder: Vocoder, group: Sequence[Window]) -> int:
    """Frames of the batch, padding included."""
    longest = max(len(window.mel_tm) for window in group)
    if not vocoder.is_windowable or any(window.is_whole for window in group):
        return longest
    return -(-longest // LENGTH_BUCKET) * LENGTH_BUCKET


def _render_group(vocoder: Vocoder, group: Sequence[Window], align_right: bool) -> list[tuple[Tensor, Tensor]]:
    frames = _batch_frames(vocoder, group)
    pads = [frames - len(window.mel_tm) for window in group]
    fronts = pads if align_right else [0] * len(group)
    mels = [F.pad(w.mel_tm, (0, 0, front, pad - front)) for w, pad, front in zip(group, pads, fronts, strict=True)]
    mel_btm = torch.stack(mels)
    starts = [window.start - front for window, front in zip(group, fronts, strict=True)]
    histories = [window.history + front for window, front in zip(group, fronts, strict=True)]
    wave_bs, phase_bt = vocoder.render_window(
        mel_btm.transpose(1, 2).contiguous(),
        torch.stack([window.key for window in group]),
        start_frame=torch.tensor(starts, device=mel_btm.device),
        history=torch.tensor(histories, device=mel_btm.device),
        phase_b=torch.stack([window.phase for window in group]),
    )
    results = []
    for row, (window, front) in enumerate(zip(group, fronts, strict=True)):
        end = front + len(window.mel_tm)
        results.append((wave_bs[row, front * vocoder.hop : end * vocoder.hop], phase_bt[row, front:end]))
    return results
