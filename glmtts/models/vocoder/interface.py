"""The interface of all vocoders."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Vocoder(Protocol):
    """Log-mel (b, c, t) to waveform (b, t × hop), float32 in [−1, 1], at `sample_rate` Hz.

    A call renders a whole utterance, `render_window` a part of one. The part begins at frame `start_frame` of the
    utterance. Its first `history` frames were rendered before and serve as context; `phase_b` (b,) is the phase that an
    earlier window returned for the last of them. Each may be one number for all rows, or int64 (b,); the phase of a row
    without history is ignored. Equal seeds (b,), int64, give equal waveforms.

    `is_windowable`: samples at least `context_frames` inside a window, or at an end that is the utterance's own, equal
    those of the whole utterance, whatever lies outside. If that is not known, fade the joins and do not pad rows.
    """

    @property
    def sample_rate(self) -> int: ...

    @property
    def hop(self) -> int: ...

    @property
    def context_frames(self) -> int: ...

    @property
    def is_windowable(self) -> bool: ...

    def __call__(self, mel_bct: Tensor, seeds_b: Tensor) -> Tensor: ...

    def render_window(
        self,
        mel_bct: Tensor,
        seeds_b: Tensor,
        *,
        start_frame: int | Tensor = 0,
        history: int | Tensor = 0,
        phase_b: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The window's waveform (b, t × hop) and the phases (b, t) at its frames."""
        ...
