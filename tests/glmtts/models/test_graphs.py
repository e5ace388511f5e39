"""Steps by shape where nothing is captured; `tests/test_cuda.py` tests capturing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from glmtts.models.llm.cuda_graphs import CudaGraphCache, bucket_size


def test_a_cpu_runs_every_step() -> None:
    """Each call runs the step and returns its result, also for a shape seen before."""
    graphs, total = CudaGraphCache(torch.device("cpu")), torch.zeros(2)

    def step() -> Tensor:
        total.add_(1)
        return total.clone()

    assert [graphs(1, step).tolist() for _ in range(4)] == [[1, 1], [2, 2], [3, 3], [4, 4]]
    assert not graphs.enabled


@pytest.mark.skipif(torch.cuda.is_available(), reason="capturing works here")
def test_where_capturing_fails_steps_go_on() -> None:
    """The second call tries to capture, warns why it failed, and runs the step; there is no third try."""
    graphs, calls = CudaGraphCache(torch.device("cpu")), []
    graphs.enabled = True

    def step() -> Tensor:
        calls.append(len(calls))
        return torch.zeros(1)

    graphs(1, step)
    with pytest.warns(UserWarning, match="CUDA graphs are off"):
        graphs(1, step)
    assert not graphs.enabled
    graphs(1, step)
    assert calls == [0, 1, 2]


def test_an_error_of_a_step_is_raised() -> None:
    """The next step runs as usual."""

    def failing() -> Tensor:
        raise RuntimeError("no memory")

    graphs = CudaGraphCache(torch.device("cpu"))
    with pytest.raises(RuntimeError, match="no memory"):
        graphs(1, failing)
    assert graphs(1, lambda: torch.ones(1)).tolist() == [1]


def test_shapes_are_few() -> None:
    assert [bucket_size(size, 1, 12) for size in (1, 2, 3, 4, 5, 8, 9, 12)] == [1, 2, 4, 4, 8, 8, 12, 12]
    assert [bucket_size(size, 256, 2048) for size in (1, 256, 257, 1500)] == [256, 256, 512, 2048]
