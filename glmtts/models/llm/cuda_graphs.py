"""A cache of CUDA graphs, one for each shape of a decode step.

A decode step launches hundreds of small kernels, and a GPU finishes them sooner than Python launches them, so one row
takes as long as sixty. Replaying a captured graph launches all of them at once.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable

import torch
from torch import Tensor


def bucket_size(size: int, minimum: int, maximum: int) -> int:
    """The next power of two from `size`, clamped to [minimum, maximum]: each shape needs a graph of its own."""
    return min(max(1 << (size - 1).bit_length(), minimum), maximum)


class CudaGraphCache:
    """Runs steps, by shape: eagerly the first time, from a captured graph afterwards; always eagerly without CUDA.

    A step must read and write the same memory on each call, depend on nothing else, and not synchronise with the
    device. What it returns is copied, so the next call does not overwrite it. For one thread only.
    """

    def __init__(self, device: torch.device) -> None:
        self.enabled = device.type == "cuda"
        self._warmed_up: set[Hashable] = set()
        self._graphs: dict[Hashable, tuple[torch.cuda.CUDAGraph, Tensor]] = {}

    def __call__(self, shape: Hashable, step: Callable[[], Tensor]) -> Tensor:
        """Returns what `step` returns. Raises what `step` raises, with no side effects but those of `step`."""
        if not self.enabled or shape not in self._warmed_up:
            output = step()  # libraries allocate their workspaces in the first call, which must not be captured
            self._warmed_up.add(shape)
            return output
        if shape not in self._graphs and not self._capture(shape, step):
            return step()
        graph, output = self._graphs[shape]
        graph.replay()
        return output.clone()

    def _capture(self, shape: Hashable, step: Callable[[], Tensor]) -> bool:
        """Captures the launches without running them. The first failure disables the cache."""
        try:
            graph = torch.cuda.CUDAGraph()
            pool = next((other.pool() for other, _ in self._graphs.values()), None)
            # Other threads use the device meanwhile; only this thread's calls are captured.
            with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
                output = step()
        except RuntimeError as error:
            warnings.warn(f"CUDA graphs are off, because capturing one failed: {error}", stacklevel=2)
            self.enabled = False
            return False
        self._graphs[shape] = graph, output
        return True
