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

from glmtts.engine.synthesis.recorded_windows import RecordedWindows
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


def render_windows(
    vocoder: Vocoder, windows: Sequence[Window], recorded: RecordedWindows | None = None
) -> list[tuple[Tensor, Tensor]]:
    """For each window all its samples (t × hop), float32, and the phases at its frames (t,).

    recorded: this vocoder's recorded steps, for the batches that they fit.
    """
    results: dict[int, tuple[Tensor, Tensor]] = {}
    for align_right, indices in _groups(vocoder, windows):
        group = [windows[i] for i in indices]
        results.update(zip(indices, _render_group(vocoder, group, align_right, recorded), strict=True))
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


def _render_group(
    vocoder: Vocoder, group: Sequence[Window], align_right: bool, recorded: RecordedWindows | None
) -> list[tuple[Tensor, Tensor]]:
    frames, shape = _batch_frames(vocoder, group), None
    if recorded is not None and not group[0].is_whole:
        shape = recorded.shape_for(len(group), max(len(window.mel_tm) for window in group))
    if shape is not None:
        frames = shape.frames
    elif recorded is not None:
        recorded.steps.count_plain()
    pads = [frames - len(window.mel_tm) for window in group]
    fronts = pads if align_right else [0] * len(group)
    mels = [F.pad(w.mel_tm, (0, 0, front, pad - front)) for w, pad, front in zip(group, pads, fronts, strict=True)]
    mel_bct = torch.stack(mels).transpose(1, 2).contiguous()
    keys, phases = (torch.stack(values) for values in zip(*((w.key, w.phase) for w in group), strict=True))
    counts = [[w.start - front, w.history + front] for w, front in zip(group, fronts, strict=True)]
    starts, histories = torch.tensor(counts, device=mel_bct.device).unbind(1)
    if shape is not None and recorded is not None:
        wave_bs, phase_bt = recorded.render(shape, mel_bct, keys, starts, histories, phases)
    else:
        wave_bs, phase_bt = vocoder.render_window(mel_bct, keys, start_frame=starts, history=histories, phase_b=phases)
    results = []
    for row, (window, front) in enumerate(zip(group, fronts, strict=True)):
        end = front + len(window.mel_tm)
        results.append((wave_bs[row, front * vocoder.hop : end * vocoder.hop], phase_bt[row, front:end]))
    return results
