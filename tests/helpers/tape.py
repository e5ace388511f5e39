"""A stand-in for CUDA graphs that works on a CPU: a step's operations, recorded once and replayed on the same memory.

Like a graph, a recording has fixed addresses and fixed host values: what the host computed in the step is not computed
again, results are overwritten by the next replay, and nothing is computed before the first.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._pytree import tree_leaves

from glmtts.models.graphs import Outputs, Step
from scripts.benchmarks.launches import NO_KERNEL, LaunchCounter


class Tape(LaunchCounter):
    """Records the operations that run in its context. RuntimeError for one that a CUDA graph could not have."""

    def __init__(self) -> None:
        super().__init__()
        self._operations: list[tuple[OpOverload, tuple[Any, ...], dict[str, Any], list[Tensor]]] = []

    def _run(self, func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        name = func._schema.name.removeprefix("aten::")
        if self.count.reads or self.count.data_dependent or name == "lift_fresh":
            raise RuntimeError(f"{name}: the host would wait for the device, or copy to it")
        result = func(*args, **kwargs)
        if not func.is_view and name not in NO_KERNEL:
            fresh = (
                [] if func._schema.is_mutable else [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
            )
            self._operations.append((func, args, kwargs, fresh))
        return result

    def forget_results(self) -> None:
        """Capturing a graph computes nothing: what the recording left is not there."""
        for _, _, _, fresh in self._operations:
            for tensor in fresh:
                if tensor.is_floating_point():
                    tensor.fill_(float("nan"))

    def replay(self) -> None:
        for func, args, kwargs, fresh in self._operations:
            results = [leaf for leaf in tree_leaves(func(*args, **kwargs)) if isinstance(leaf, Tensor)]
            for tensor, result in zip(fresh, results, strict=False):
                tensor.copy_(result)


class TapeRecorder:
    """A `glmtts.models.graphs.Recorder`; `tapes` are its recordings."""

    def __init__(self) -> None:
        self.tapes: list[Tape] = []

    def __call__(self, step: Step, *, warm_up: bool = True) -> Step:
        if warm_up:
            step()
        tape = Tape()
        with tape:
            outputs = step()
        tape.forget_results()
        self.tapes.append(tape)

        def replay() -> Outputs:
            with torch.inference_mode():
                tape.replay()
            return outputs

        return replay
