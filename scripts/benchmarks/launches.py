"""Counts what a step asks of a device: operations to launch, values that the host reads, shapes that depend on data.

Works on any device, also on `meta` tensors, which have no values to read. One operation here is one kernel on a GPU, or
a few where a library splits it; a view and an allocation are none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

READS = frozenset({"_local_scalar_dense", "item", "is_nonzero", "equal"})
"""Operations that hand a value to the host, which waits for it."""
DATA_DEPENDENT = frozenset(
    {"nonzero", "masked_select", "unique_dim", "_unique2", "unique_consecutive", "bincount", "repeat_interleave"}
)
"""Operations whose result is as large as their data say, so the host waits for its size."""
NO_KERNEL = frozenset(
    {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "_unsafe_view", "lift_fresh"}
)

ONE_KERNEL = frozenset({"aten::scaled_dot_product_attention"})
"""Operations that a device has a kernel for, though they can be made of others."""


@dataclass
class LaunchCount:
    """`operations` by name; `reads` and `data_dependent` are the names of those that make the host wait."""

    operations: Counter[str] = field(default_factory=Counter)
    reads: list[str] = field(default_factory=list)
    data_dependent: list[str] = field(default_factory=list)

    @property
    def launches(self) -> int:
        return sum(self.operations.values())


class LaunchCounter(TorchDispatchMode):
    """A context in which the operations of this thread are counted into `count`."""

    def __init__(self) -> None:
        super().__init__()
        self.count = LaunchCount()

    def __torch_dispatch__(
        self, func: OpOverload, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func._can_decompose() and func._schema.name not in ONE_KERNEL:  # only what it is made of is launched
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        self._record(func, args)
        return self._run(func, args, kwargs)

    def _run(self, func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Runs an operation that is not made of others."""
        return func(*args, **kwargs)

    def _record(self, func: OpOverload, args: tuple[Any, ...]) -> None:
        name = func._schema.name.removeprefix("aten::").rstrip("_") if not func.is_view else ""
        if name in READS:
            self.count.reads.append(name)
        if name in DATA_DEPENDENT or (name.startswith("index") and _indexes_by_bool(args)):
            self.count.data_dependent.append(name)
        if name and name not in NO_KERNEL:
            self.count.operations[name] += 1


def _indexes_by_bool(args: tuple[Any, ...]) -> bool:
    indices = args[1] if len(args) > 1 and isinstance(args[1], list | tuple) else ()
    return any(isinstance(index, torch.Tensor) and index.dtype in (torch.bool, torch.uint8) for index in indices)


def count_launches(step: Callable[[], object]) -> LaunchCount:
    """What one call of `step` asks of the device."""
    with LaunchCounter() as counter:
        step()
    return counter.count
