"""The operations of a step: how many, and what each computes and moves. Run on `meta` tensors, it computes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from scripts.benchmarks.launches import NO_KERNEL, LaunchCounter
from scripts.prediction.cards import Card

LOOKUPS = frozenset({"index", "index_select", "embedding", "gather"})
REPLACEMENTS = frozenset({"index_put", "index_copy", "scatter"})


@dataclass(frozen=True)
class Operation:
    """One kernel: floating-point operations of a product, a convolution or attention, bytes read and written."""

    flops: float
    size_bytes: int
    dtype: torch.dtype
    is_convolution: bool

    def seconds(self, card: Card, arithmetic: float, reading: float) -> float:
        """The longer of arithmetic and traffic, at these shares of the card's rates."""
        full = card.tf32 if self.is_convolution else card.float32  # cuDNN rounds the factors to TF32 by default
        rate = card.bfloat16 if self.dtype == torch.bfloat16 else full
        return max(self.flops / (rate * arithmetic), self.size_bytes / (card.bandwidth * reading))


class OperationRecorder(LaunchCounter):
    """A context in which the operations of this thread are recorded. Attention is one operation, as a GPU fuses it."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[Operation] = []

    def __torch_dispatch__(
        self, func: OpOverload, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func._schema.name == "aten::scaled_dot_product_attention":
            return self._attention(*args[:3])
        return super().__torch_dispatch__(func, types, args, kwargs)

    def _attention(self, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        result = torch.empty_like(query)
        flops = 4.0 * query.numel() * keys.shape[-2]
        size = sum(x.nbytes for x in (query, keys, values, result))
        self.operations.append(Operation(flops, size, query.dtype, False))
        return result

    def _run(self, func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = func(*args, **kwargs)
        name = func._schema.name.removeprefix("aten::").rstrip("_")
        if func.is_view or name in NO_KERNEL:
            return result
        inputs = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        outputs = [x for x in tree_leaves(result) if isinstance(x, Tensor)]
        if all(x.device.type == "cpu" for x in inputs + outputs):  # the host's own, while the others are `meta`
            return result
        formula = flop_registry.get(func._overloadpacket)
        flops = float(formula(*args, **kwargs, out_val=result)) if formula is not None else 0.0
        size = _moved_bytes(name, inputs, outputs)
        dtype = outputs[0].dtype if outputs else torch.float32
        self.operations.append(Operation(flops, size, dtype, "convolution" in name))
        return result


def _moved_bytes(name: str, inputs: list[Tensor], outputs: list[Tensor]) -> int:
    """Read and written. Of a table only the rows that are looked up or replaced."""
    if name in LOOKUPS:
        return 2 * sum(map(_touched_bytes, outputs))
    if name in REPLACEMENTS:
        return 2 * _touched_bytes(inputs[-1])
    return sum(map(_touched_bytes, inputs + outputs))


def _touched_bytes(x: Tensor) -> int:
    """A broadcast tensor is read once."""
    return prod(size for size, stride in zip(x.shape, x.stride(), strict=True) if stride) * x.element_size()


def operations_of(step: Callable[[], object]) -> list[Operation]:
    """Those of one call of `step`."""
    with OperationRecorder() as recorder:
        step()
    return recorder.operations
