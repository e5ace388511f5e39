"""Steps by shape: plain, recorded, replayed; the stand-in's recordings behave as graphs do. `tests/test_cuda.py` has
real ones."""

from __future__ import annotations

import pytest
import torch

from glmtts.models.graphs import Outputs, RecordedSteps, StaticBuffers, Step, bucket_size, buckets
from tests.helpers.tape import TapeRecorder


class Counter:
    """A step that counts its runs on the host, and on the device."""

    def __init__(self) -> None:
        self.runs, self.total = 0, torch.zeros(2)

    def __call__(self) -> Outputs:
        self.runs += 1
        self.total.add_(1)
        return (self.total.clone(),)


def test_without_a_recorder_every_step_runs() -> None:
    """And none is counted as plain: there is nothing else."""
    steps, counter = RecordedSteps(None, on_repeat=True), Counter()
    assert [steps.run(1, counter)[0].tolist() for _ in range(3)] == [[1, 1], [2, 2], [3, 3]]
    assert (counter.runs, steps.replays, steps.plain, len(steps)) == (3, 0, 0, 0)


def test_a_recorded_shape_is_replayed_and_others_run_plainly() -> None:
    """The host's part of the step is not run again, the device's is."""
    steps, counter = RecordedSteps(TapeRecorder()), Counter()
    steps.record("known", counter)
    runs, before = counter.runs, counter.total.clone()
    assert torch.equal(steps.run("known", counter)[0], before + 1)
    assert torch.equal(steps.run("known", counter)[0], before + 2)
    assert counter.runs == runs
    steps.run("new", counter)
    steps.run("new", counter)
    assert counter.runs == runs + 2
    assert (steps.replays, steps.plain, len(steps)) == (2, 2, 1)


def test_on_repeat_a_shape_is_recorded_when_it_comes_again() -> None:
    """Recording it computes nothing twice: the step has run before."""
    steps, counter = RecordedSteps(TapeRecorder(), on_repeat=True), Counter()
    steps.run(1, counter)
    assert not len(steps)
    steps.run(1, counter)
    assert len(steps) == 1
    assert steps.replays == 1


def test_where_recording_fails_steps_go_on() -> None:
    """The second call tries to record, warns why it failed, and runs the step; there is no third try."""

    def failing(_: Step, *, warm_up: bool = True) -> Step:
        raise RuntimeError("no graphs here")

    steps, counter = RecordedSteps(failing, on_repeat=True), Counter()
    steps.run(1, counter)
    with pytest.warns(UserWarning, match="CUDA graphs are off.*no graphs here"):
        steps.run(1, counter)
    steps.run(1, counter)
    assert counter.runs == 3
    assert not steps.enabled


def test_an_error_of_a_step_is_raised() -> None:
    """The next step runs as usual."""

    def failing() -> Outputs:
        raise RuntimeError("no memory")

    steps = RecordedSteps(None)
    with pytest.raises(RuntimeError, match="no memory"):
        steps.run(1, failing)
    assert steps.run(1, lambda: (torch.ones(1),))[0].tolist() == [1]


@pytest.mark.parametrize(
    "step",
    [
        lambda x: x.sum().item(),
        lambda x: x[x > 0],
        lambda x: x + torch.tensor([1.0, 2.0]),
    ],
    ids=["a value read", "a shape of data", "a value from the host"],
)
def test_the_stand_in_refuses_what_a_graph_would(step: Step) -> None:
    """So a step that it records could be captured."""
    x = torch.ones(2)
    with pytest.raises(RuntimeError):
        TapeRecorder()(lambda: (step(x),))  # type: ignore[call-arg]


def test_the_stand_in_reads_memory_anew_and_overwrites_its_results() -> None:
    """As a graph: what is in the inputs counts when it is replayed; before the first replay there is no result."""
    x = torch.ones(2)
    replay = TapeRecorder()(lambda: ((x * 2 + 1).view(2, 1),))
    x.fill_(5)
    first = replay()[0]
    assert first.tolist() == [[11], [11]]
    x.fill_(7)
    assert replay()[0].data_ptr() == first.data_ptr()
    assert first.tolist() == [[15], [15]]


def test_buffers_of_all_layouts_share_memory() -> None:
    """As much as the largest needs, by name and type."""
    small, large = ({"a": ((size, 2), torch.float32), "b": ((size,), torch.int64)} for size in (3, 5))
    buffers = StaticBuffers([small, large], torch.device("cpu"))
    one, other = buffers.views(small), buffers.views(large)
    assert one["a"].shape == (3, 2)
    assert other["b"].shape == (5,)
    assert one["a"].data_ptr() == other["a"].data_ptr()
    assert one["b"].data_ptr() != other["a"].data_ptr()


def test_shapes_are_few() -> None:
    """Powers of two within bounds; `buckets` lists them."""
    assert [bucket_size(size, 1, 12) for size in (1, 2, 3, 4, 5, 8, 9, 12)] == [1, 2, 4, 4, 8, 8, 12, 12]
    assert [bucket_size(size, 256, 2048) for size in (1, 256, 257, 1500)] == [256, 256, 512, 2048]
    assert buckets(1, 12) == [1, 2, 4, 8, 12]
    assert buckets(256, 2048) == [256, 512, 1024, 2048]
    assert buckets(1, 1) == [1]
