"""Steps by their shape where nothing is recorded; `tests/test_cuda.py` has the rest."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from glmtts.models.llm.cuda_graphs import Recorded, recordable


def test_a_cpu_runs_every_step() -> None:
    """Each call does its work and gives what it made; a shape that was met before is no exception."""
    recorded, total = Recorded(torch.device("cpu")), torch.zeros(2)

    def step() -> Tensor:
        total.add_(1)
        return total.clone()

    assert [recorded(1, step).tolist() for _ in range(4)] == [[1, 1], [2, 2], [3, 3], [4, 4]]
    assert not recorded.recording


@pytest.mark.skipif(torch.cuda.is_available(), reason="recording works here")
def test_where_recording_fails_steps_go_on() -> None:
    """The second call tries it, says why not, and runs the step; there is no third try."""
    recorded, calls = Recorded(torch.device("cpu")), []
    recorded.recording = True

    def step() -> Tensor:
        calls.append(len(calls))
        return torch.zeros(1)

    recorded(1, step)
    with pytest.warns(UserWarning, match="launched one by one"):
        recorded(1, step)
    assert not recorded.recording
    recorded(1, step)
    assert calls == [0, 1, 2]


def test_what_a_step_raises_comes_out() -> None:
    """And the next one is run as if nothing had been."""

    def failing() -> Tensor:
        raise RuntimeError("no memory")

    recorded = Recorded(torch.device("cpu"))
    with pytest.raises(RuntimeError, match="no memory"):
        recorded(1, failing)
    assert recorded(1, lambda: torch.ones(1)).tolist() == [1]


def test_shapes_are_few() -> None:
    assert [recordable(size, 1, 12) for size in (1, 2, 3, 4, 5, 8, 9, 12)] == [1, 2, 4, 4, 8, 8, 12, 12]
    assert [recordable(size, 256, 2048) for size in (1, 256, 257, 1500)] == [256, 256, 512, 2048]
