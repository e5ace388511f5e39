"""Vocoder windows as recorded steps: their inputs are copied to fixed memory, and their results from it.

Dimension names: b batch, c mel bins, t mel frames, s samples.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from glmtts.engine.synthesis.ladder import WindowShape
from glmtts.models.graphs import Layout, RecordedSteps, StaticBuffers
from glmtts.models.vocoder.interface import Vocoder


class RecordedWindows:
    """Batches of windows of one windowable vocoder, in recorded `shapes`. For one thread at a time."""

    def __init__(
        self, vocoder: Vocoder, mel_bins: int, shapes: Sequence[WindowShape], device: torch.device, steps: RecordedSteps
    ) -> None:
        self._vocoder, self._bins, self.steps = vocoder, mel_bins, steps
        self.shapes = sorted(shapes, key=lambda shape: shape.rows * shape.frames)
        self._memory = StaticBuffers(map(self._layout, self.shapes), device)

    @torch.inference_mode()
    def record(self, shape: WindowShape) -> None:
        """Records one of the shapes. Raises RuntimeError if that can't be done."""
        buffers = self._memory.views(self._layout(shape))

        def render() -> tuple[Tensor, Tensor]:
            return self._vocoder.render_window(
                buffers["mel_bct"], buffers["seeds_b"], start_frame=buffers["start_b"],
                history=buffers["history_b"], phase_b=buffers["phase_b"],
            )  # fmt: skip

        self.steps.record(self._key(shape), render)

    def shape_for(self, rows: int, frames: int) -> WindowShape | None:
        """The smallest recorded shape that holds so many windows of so many frames, if there is one."""
        needed = WindowShape(rows, frames)
        return next((shape for shape in self.shapes if self._key(shape) in self.steps and shape.holds(needed)), None)

    def render(
        self, shape: WindowShape, mel_bct: Tensor, seeds_b: Tensor, start_b: Tensor, history_b: Tensor, phase_b: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As `Vocoder.render_window`, of windows of the shape's frames and at most as many as its rows."""
        buffers, rows = self._memory.views(self._layout(shape)), len(mel_bct)
        buffers["history_b"].zero_()  # an index: what another shape left there may be out of range
        values = {
            "mel_bct": mel_bct, "seeds_b": seeds_b, "start_b": start_b, "history_b": history_b, "phase_b": phase_b,
        }  # fmt: skip
        for name, value in values.items():
            buffers[name][:rows].copy_(value)
        wave_bs, phase_bt = self.steps.replay(self._key(shape))
        return wave_bs[:rows].clone(), phase_bt[:rows].clone()

    def _key(self, shape: WindowShape) -> tuple[int, WindowShape]:
        return self._vocoder.sample_rate, shape

    def _layout(self, shape: WindowShape) -> Layout:
        rows, frames = shape
        counts = dict.fromkeys(("seeds_b", "start_b", "history_b"), ((rows,), torch.int64))
        return {
            "mel_bct": ((rows, self._bins, frames), torch.float32), **counts, "phase_b": ((rows,), torch.float64)
        }  # fmt: skip
