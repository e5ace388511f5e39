"""An engine whose steps are recorded says what one without says, from recordings; a budget bounds what is recorded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from glmtts.checkpoint.loader import Model
from glmtts.dsp.audio import Wave
from glmtts.engine.api import Job
from glmtts.engine.config import AudioLimits, ChunkSchedule, EngineOptions
from glmtts.engine.runtime.engine import BatchEngine
from glmtts.engine.runtime.recording import record_all
from glmtts.engine.synthesis.audio_recordings import Recording
from glmtts.engine.synthesis.ladder import flow_shapes, window_shapes
from glmtts.models.flow.flow_batch import FlowSequence
from glmtts.models.flow.flow_block import BlockShape
from glmtts.text.frontend.frontend import Segment
from tests.helpers.tape import TapeRecorder
from tests.helpers.voices import made_up_voice

OPTIONS = EngineOptions(
    max_num_seqs=4,
    num_threads=2,
    deterministic=True,
    chunk_schedule=ChunkSchedule(sizes=(8, 16), lookahead=3, left_context=10),
    audio=AudioLimits(max_batch_frames=2048, max_prompt_tokens=20),
    graph_seconds=300.0,
)


@pytest.fixture(scope="module")
def engine(model: Model) -> Iterator[BatchEngine]:
    """Its steps are recorded."""
    engine = BatchEngine(model, OPTIONS, make_recorder=TapeRecorder)
    assert engine.record_steps() == len(engine._loop.recordings()) > 10
    yield engine
    engine.close()


@pytest.fixture
def plain(model: Model) -> Iterator[BatchEngine]:
    """Nothing is recorded."""
    engine = BatchEngine(model, OPTIONS)
    yield engine
    engine.close()


def spoken(engine: BatchEngine, job: Job) -> Wave:
    return np.concatenate(list(engine.submit(job).chunks()))


def plain_steps(engine: BatchEngine) -> dict[str, int]:
    return {stage: counts.plain for stage, counts in engine.stats().recorded_steps.items()}


def test_recorded_steps_say_what_plain_ones_say(engine: BatchEngine, plain: BatchEngine, model: Model) -> None:
    """Listeners of two voices at once, streams of several chunks: the same sound, and no step ran plainly."""
    voices = [made_up_voice(model, tokens) for tokens in (12, 19)]
    jobs = [Job((Segment(0, "", (9 + i,) * 12),), voices[i % 2], 24000, seed=i) for i in range(6)]
    with ThreadPoolExecutor(len(jobs)) as pool:
        recorded = list(pool.map(lambda job: spoken(engine, job), jobs))
        launched = list(pool.map(lambda job: spoken(plain, job), jobs))
    for one, other in zip(recorded, launched, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    counts = engine.stats().recorded_steps
    assert set(counts) == {"prefill", "decode", "flow", "vocoder"}
    assert all(count.replayed and not count.plain for count in counts.values())
    assert all(c.shapes == c.replayed == c.plain == 0 for c in plain.stats().recorded_steps.values())


def test_listeners_of_one_voice_share_its_prefill(
    engine: BatchEngine, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is solved once, whoever comes later or at the same time."""
    job = Job((Segment(0, "", (9,) * 3),), made_up_voice(model, 15), 24000, seed=1)
    recordings = engine._loop._audio_recordings
    assert recordings is not None
    solve, prefills = recordings.blocks.solve, []

    def counted(sequences: Sequence[FlowSequence], shape: BlockShape) -> None:
        if not shape.context:
            prefills.append(len(sequences))
        solve(sequences, shape)

    monkeypatch.setattr(recordings.blocks, "solve", counted)
    with ThreadPoolExecutor(3) as pool:
        waves = list(pool.map(lambda _: spoken(engine, job), range(3)))
    waves.append(spoken(engine, job))
    assert prefills == [1]
    assert all(np.allclose(wave, waves[0], atol=1e-5) for wave in waves)


def test_what_the_ladder_lacks_runs_plainly_and_is_counted(engine: BatchEngine, model: Model) -> None:
    """A whole utterance longer than any recorded block."""
    before = plain_steps(engine)
    spoken(engine, Job((Segment(0, "", (9,) * 180),), made_up_voice(model, 15), 24000, seed=1, stream=False))
    assert plain_steps(engine)["flow"] == before["flow"] + 1


def test_the_ladder_holds_the_chunks_of_the_schedule() -> None:
    """Each chunk with its lookahead and context, and a listener more or less; at other speeds, some frames more."""
    schedule, limits = ChunkSchedule(), AudioLimits(max_batch_frames=16384, vocoder_frames=1024, max_prompt_tokens=250)
    shapes = flow_shapes(schedule, limits, 16)
    for size in schedule.sizes:
        for spare in (0, 4):
            needed = BlockShape(11, 2 * (size + schedule.lookahead) + spare, 500 + 50, 50)
            assert any(shape.holds(needed) for shape in shapes)
    assert any(shape.holds(BlockShape(1, 500, 0, 500)) for shape in shapes)
    assert len(shapes) < 40
    assert {shape.frames for shape in window_shapes(schedule, limits, 19, 16)} == {128, 192, 256}
    assert max(shape.rows for shape in window_shapes(schedule, limits, 19, 64)) == 16


class Clock:
    """Seconds and bytes that recordings take."""

    def __init__(self) -> None:
        self.seconds, self.bytes = 100.0, 1000
        self.done: list[tuple[str, int]] = []

    def recording(self, stage: str, rows: int) -> Recording:
        def record() -> None:
            self.seconds, self.bytes = self.seconds + 2, self.bytes + 10
            if stage == "broken":
                raise RuntimeError("can't be captured")
            self.done.append((stage, rows))

        return Recording(stage, rows, record)


@pytest.mark.parametrize(
    ("seconds", "size", "expected"),
    [
        (100, 1000, [("decode", 1), ("flow", 1), ("decode", 2), ("flow", 2), ("decode", 4)]),
        (6.5, 1000, [("decode", 1), ("flow", 1), ("decode", 2)]),
        (100, 35, [("decode", 1), ("flow", 1), ("decode", 2)]),
        (0, 1000, []),
        (100, 0, []),
    ],
    ids=["all", "seconds", "bytes", "no time", "no memory"],
)
def test_a_budget_bounds_what_is_recorded(seconds: float, size: int, expected: list[tuple[str, int]]) -> None:
    """Few rows first, of all stages; a stage that fails is left out, after one try."""
    clock = Clock()
    plan = [("decode", 1), ("decode", 2), ("decode", 4), ("flow", 1), ("flow", 2), ("broken", 1), ("broken", 2)]
    recordings = [clock.recording(stage, rows) for stage, rows in plan]
    done = record_all(
        recordings, max_seconds=seconds, max_bytes=size, used_bytes=lambda: clock.bytes, clock=lambda: clock.seconds
    )
    assert clock.done == expected
    assert done == len(expected)
