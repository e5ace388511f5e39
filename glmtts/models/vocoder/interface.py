"""What every vocoder offers, whatever its architecture. Knows nothing about how a waveform is made."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Vocoder(Protocol):
    """Log-mel (b, c, t) to waveform (b, t × hop), float32 in [−1, 1], at `sample_rate` Hz.

    Calling it makes a whole utterance, `window` a part of one: `start_frame` is the utterance's frame at which the
    part begins, its first `history` frames have been made before and are there for context, and `phase_b` (b,) is the
    phase that an earlier window returned (of its phases (b, t)) for the last frame of this history. Each may be a
    number for all rows, or int64 (b,); the phase of a row without history is not looked at.
    Equal seeds (b,), int64, give equal waveforms.

    `exact_windows`: samples that lie `context_frames` inside a window, or at an end that is the utterance's own, are
    those of the whole, whatever lies outside. Where that is not known, joins should be faded and rows not padded.
    """

    @property
    def sample_rate(self) -> int: ...

    @property
    def hop(self) -> int: ...

    @property
    def context_frames(self) -> int: ...

    @property
    def exact_windows(self) -> bool: ...

    def __call__(self, mel_bct: Tensor, seeds_b: Tensor) -> Tensor: ...

    def window(
        self,
        mel_bct: Tensor,
        seeds_b: Tensor,
        *,
        start_frame: int | Tensor = 0,
        history: int | Tensor = 0,
        phase_b: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]: ...
