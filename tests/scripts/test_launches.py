"""What a step asks of a device is counted: operations, values that the host reads, shapes that depend on data."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from scripts.benchmarks.launches import count_launches

X = torch.arange(12.0).view(3, 4)


@torch.inference_mode()
def test_each_operation_counts_once_and_a_view_not_at_all() -> None:
    """A linear layer on a transposed part: one product; its activation in place is another operation."""
    weight = torch.ones(5, 4)
    count = count_launches(lambda: torch.nn.functional.linear(X[1:].view(2, 4), weight).relu_().transpose(0, 1))
    assert dict(count.operations) == {"mm": 1, "relu": 1}
    assert count.reads == count.data_dependent == []


@pytest.mark.parametrize("read", [lambda: X.sum().item(), lambda: bool(X[0, 0] > 1), lambda: torch.equal(X, X)])
def test_a_value_that_the_host_reads_is_named(read: Callable[[], object]) -> None:
    """Whatever it is written as."""
    assert count_launches(read).reads


@pytest.mark.parametrize(
    "step",
    [
        lambda: X.nonzero(),
        lambda: X[X > 2],
        lambda: X.clone().index_put_((X > 2,), torch.tensor(0.0)),
        lambda: torch.repeat_interleave(X, torch.tensor([1, 2, 3]), 0),
    ],
)
def test_a_shape_that_depends_on_data_is_named(step: Callable[[], Tensor]) -> None:
    """The size of such a result must be read before anything can follow."""
    assert count_launches(step).data_dependent
