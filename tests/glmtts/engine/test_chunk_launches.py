"""What Python launches around the recorded steps of a chunk is counted, since the prediction for GPUs builds on it."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch._ops import OpOverload

from glmtts.checkpoint.loader import Model
from glmtts.engine.api import Job
from glmtts.engine.config import AudioLimits, EngineOptions
from glmtts.engine.runtime.engine import BatchEngine
from glmtts.engine.scheduling.active_job import ChunkTask
from glmtts.engine.synthesis.audio_runner import AudioStep
from glmtts.models.graphs import Outputs, Step
from glmtts.text.frontend.frontend import Segment
from scripts.benchmarks.launches import LaunchCounter
from scripts.prediction.costs import CHUNK_LAUNCHES
from tests.helpers.voices import made_up_voice


class OutsideCounter(LaunchCounter):
    """Counts the operations outside of recorded steps. As a recorder, it runs a step each time, uncounted."""

    def __init__(self) -> None:
        super().__init__()
        self._within = threading.local()  # meanwhile another thread decodes

    def __torch_dispatch__(
        self, func: OpOverload, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(self._within, "step", False):
            return func(*args, **(kwargs or {}))
        return super().__torch_dispatch__(func, types, args, kwargs)

    def __call__(self, step: Step, *, warm_up: bool = True) -> Step:
        def replay() -> Outputs:
            self._within.step = True
            try:
                with torch.inference_mode():
                    return step()
            finally:
                self._within.step = False

        return replay


def test_a_chunk_launches_as_much_as_the_prediction_says(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """One in the middle of a segment, in a voice that is known. Its audio is copied to the host besides, and one of the
    counted copies of numbers stays there."""
    counter = OutsideCounter()
    options = EngineOptions(num_threads=2, audio=AudioLimits(16384, 1024, 250), graph_seconds=300.0)
    engine = BatchEngine(model, options, make_recorder=lambda: counter)
    launches: dict[str, list[int]] = defaultdict(list)
    audio_step = engine._loop.audio.step

    def counted(tasks: Sequence[ChunkTask]) -> AudioStep:
        before = counter.count.launches
        with counter:
            step = audio_step(tasks)
        launches[step.stage].append(counter.count.launches - before)
        return step

    try:
        engine.record_steps()
        job = Job((Segment(0, "", (9,) * 40),), made_up_voice(model, 20), 24000, seed=1)
        list(engine.submit(job).chunks())
        monkeypatch.setattr(engine._loop.audio, "step", counted)
        list(engine.submit(job).chunks())
    finally:
        engine.close()
    assert [len(counts) for counts in launches.values()] == [4, 4]
    assert launches["flow"][2] + launches["vocoder"][2] == CHUNK_LAUNCHES
    assert counter.count.reads == []
