"""The launches of a step, recorded once and repeated in one go.

A decode step is hundreds of small operations. A GPU has done them sooner than Python has launched them, so that one row
and sixty take as long; as a CUDA graph they are launched together. Knows nothing about what a step computes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable

import torch
from torch import Tensor


def recordable(size: int, least: int, most: int) -> int:
    """The next power of two, between `least` and `most`: each shape is a recording of its own, so they shall be few."""
    return min(max(1 << (size - 1).bit_length(), least), most)


class Recorded:
    """Repeats steps by their shape: each is run as it is at first, then recorded. Elsewhere than on CUDA all are run.

    A step that is repeated must read and write the same memory every time and may depend on nothing else; it must not
    wait for the device. What it returns is copied, so the next one does not change it. Of one thread.
    """

    def __init__(self, device: torch.device) -> None:
        self.recording = device.type == "cuda"
        self._met: set[Hashable] = set()
        self._graphs: dict[Hashable, tuple[torch.cuda.CUDAGraph, Tensor]] = {}

    def __call__(self, shape: Hashable, step: Callable[[], Tensor]) -> Tensor:
        """What `step` gives. It raises what `step` raises, and has then changed nothing that `step` has not."""
        if not self.recording or shape not in self._met:
            out = step()  # libraries make their workspaces in the first call, which must not be recorded
            self._met.add(shape)
            return out
        if shape not in self._graphs and not self._record(shape, step):
            return step()
        graph, made = self._graphs[shape]
        graph.replay()
        return made.clone()

    def _record(self, shape: Hashable, step: Callable[[], Tensor]) -> bool:
        """Notes the launches without running them; after a failure there is no further try."""
        try:
            graph = torch.cuda.CUDAGraph()
            pool = next((other.pool() for other, _ in self._graphs.values()), None)
            # Other threads go on using the device meanwhile; only this one's calls are recorded.
            with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
                made = step()
        except RuntimeError as error:
            warnings.warn(f"steps are launched one by one, for recording one failed: {error}", stacklevel=2)
            self.recording = False
            return False
        self._graphs[shape] = graph, made
        return True
