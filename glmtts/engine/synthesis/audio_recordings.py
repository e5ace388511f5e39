"""What is recorded of the flow and the vocoders, and who may use it when."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import NamedTuple

import torch

from glmtts.checkpoint.loader import Model
from glmtts.engine.config import AudioLimits, ChunkSchedule
from glmtts.engine.synthesis.ladder import flow_shapes, window_shapes
from glmtts.engine.synthesis.recorded_windows import RecordedWindows
from glmtts.models.flow.flow_block import block_layout
from glmtts.models.flow.flow_blocks import FlowBlocks
from glmtts.models.graphs import RecordedSteps, Recorder, layout_bytes

BUFFER_SHARE = 0.75
"""Share of the memory for recordings that the flow's inputs and outputs may take; the rest is for what lies between."""


class Recording(NamedTuple):
    """A step of so many rows that can be recorded."""

    stage: str
    rows: int
    record: Callable[[], None]


class DeviceLock:
    """One user at a time, on the host and on the device, where each waits for what the one before has launched."""

    def __init__(self, device: torch.device) -> None:
        self._lock = Lock()
        self._done = torch.cuda.Event() if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def __enter__(self) -> None:
        self._lock.acquire()
        if self._done is not None:
            torch.cuda.current_stream().wait_event(self._done)

    def __exit__(self, *_: object) -> None:
        if self._done is not None:
            self._done.record()
        self._lock.release()


class AudioRecordings:
    """Recorded steps of one model's flow and vocoders. Hold `lock` to use them.

    Args:
        max_rows: listeners whose chunks may share a batch.
        max_bytes: device memory for all recordings; larger shapes are left out.
    """

    def __init__(
        self, model: Model, recorder: Recorder, schedule: ChunkSchedule, limits: AudioLimits, *, max_rows: int,
        max_bytes: int,
    ) -> None:  # fmt: skip
        self.lock = DeviceLock(model.device)
        self.flow_steps, self.vocoder_steps = RecordedSteps(recorder), RecordedSteps(recorder)
        shapes = [
            shape
            for shape in flow_shapes(schedule, limits, max_rows)
            if layout_bytes(block_layout(model.flow, shape)) <= BUFFER_SHARE * max_bytes
        ]
        self.blocks = FlowBlocks(model.flow, shapes, model.device, self.flow_steps)
        self.windows = {
            rate: RecordedWindows(
                vocoder,
                model.flow.config.dit.mel_dim,
                window_shapes(schedule, limits, vocoder.context_frames, max_rows),
                model.device,
                self.vocoder_steps,
            )
            for rate, vocoder in model.vocoders.items()
            if vocoder.is_windowable
        }

    def all(self) -> list[Recording]:
        """What can be recorded."""
        flow = [Recording("flow", shape.rows, lambda s=shape: self.blocks.record(s)) for shape in self.blocks.shapes]  # type: ignore[misc]
        vocoders = [
            Recording("vocoder", shape.rows, lambda w=windows, s=shape: w.record(s))  # type: ignore[misc]
            for windows in self.windows.values()
            for shape in windows.shapes
        ]
        return flow + vocoders
