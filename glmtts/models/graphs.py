"""Steps of fixed shapes, recorded once and replayed: on a GPU, as CUDA graphs.

A step launches hundreds or thousands of small kernels, and a GPU finishes them sooner than Python launches them, so one
row takes as long as sixty. Replaying a recorded step launches all of them at once.

A step that is recorded must read and write the same memory on each call, depend on nothing else, and not synchronise
with the device. What the host computes in it is computed once, when it is recorded.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

Outputs: TypeAlias = "tuple[Tensor, ...]"
Step: TypeAlias = "Callable[[], Outputs]"
"""Returns its results. Those of a recorded step are in the same memory each time: the next replay overwrites them."""


class Recorder(Protocol):
    """Makes a recording of a step. Recordings of one recorder may share memory, so they must not run at once."""

    def __call__(self, step: Step, *, warm_up: bool = True) -> Step:
        """Returns what replays the step. Raises RuntimeError if the step can't be recorded.

        warm_up: whether to run the step first, as libraries allocate their workspaces in their first call. Else it
        must have run before.
        """
        ...


class CudaGraphRecorder:
    """Records steps as CUDA graphs.

    Their intermediate results share a pool, and their matrix products a workspace, which belongs to a stream: stages
    that run at the same time need a recorder each.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, step: Step, *, warm_up: bool = True) -> Step:
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        if warm_up:
            with torch.cuda.stream(self._stream):
                step()
        graph = torch.cuda.CUDAGraph()
        # Other threads use the device meanwhile; only this thread's calls are captured.
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
            outputs = step()
        current.wait_stream(self._stream)

        def replay() -> Outputs:
            graph.replay()
            return outputs

        return replay


class RecordedSteps:
    """Recordings of one stage by shape, and how often they were replayed. For one thread at a time.

    Args:
        recorder: None runs every step plainly.
        on_repeat: whether `run` records a step when its shape comes for the second time.
    """

    def __init__(self, recorder: Recorder | None, *, on_repeat: bool = False) -> None:
        self._recorder, self._on_repeat = recorder, on_repeat
        self._recordings: dict[Hashable, Step] = {}
        self._seen: set[Hashable] = set()
        self.replays = 0
        """Steps that were replayed."""
        self.plain = 0
        """Steps that were not, because their shape was not recorded, while others are."""

    @property
    def enabled(self) -> bool:
        """Whether steps are recorded at all."""
        return self._recorder is not None

    def __len__(self) -> int:
        return len(self._recordings)

    def __contains__(self, shape: Hashable) -> bool:
        return shape in self._recordings

    def record(self, shape: Hashable, step: Step, *, warm_up: bool = True) -> None:
        """Records the step, see `Recorder`. Raises RuntimeError if that can't be done."""
        if self._recorder is not None and shape not in self._recordings:
            self._recordings[shape] = self._recorder(step, warm_up=warm_up)

    def replay(self, shape: Hashable) -> Outputs:
        """Replays a recording."""
        outputs = self._recordings[shape]()
        self.replays += 1
        return outputs

    def run(self, shape: Hashable, step: Step) -> Outputs:
        """Replays the step if its shape is recorded, else runs it. Raises what the step raises."""
        if self._on_repeat and shape in self._seen:
            self._record_or_disable(shape, step)
        if shape in self._recordings:
            return self.replay(shape)
        outputs = step()
        self._seen.add(shape)
        self.count_plain()
        return outputs

    def count_plain(self) -> None:
        """Counts a step that the caller runs plainly."""
        if self.enabled:
            self.plain += 1

    def _record_or_disable(self, shape: Hashable, step: Step) -> None:
        try:
            self.record(shape, step, warm_up=False)
        except RuntimeError as error:
            warnings.warn(f"CUDA graphs are off, because recording one failed: {error}", stacklevel=3)
            self._recorder = None
            self._on_repeat = False


Layout: TypeAlias = "Mapping[str, tuple[tuple[int, ...], torch.dtype]]"
"""Shapes and types of a step's buffers, by name."""


class StaticBuffers:
    """Memory for the inputs and outputs of steps of several layouts, one at a time: as much as the largest needs.

    What one step leaves behind is what another finds. So whoever fills the inputs must write all that is read.
    """

    def __init__(self, layouts: Iterable[Layout], device: torch.device) -> None:
        sizes: dict[tuple[str, torch.dtype], int] = {}
        for layout in layouts:
            for name, (shape, dtype) in layout.items():
                sizes[name, dtype] = max(sizes.get((name, dtype), 0), torch.Size(shape).numel())
        self._memory = {key: torch.zeros(size, dtype=key[1], device=device) for key, size in sizes.items()}

    @property
    def nbytes(self) -> int:
        return sum(memory.nbytes for memory in self._memory.values())

    def views(self, layout: Layout) -> dict[str, Tensor]:
        """The buffers of one of the layouts."""
        return {
            name: self._memory[name, dtype][: torch.Size(shape).numel()].view(shape)
            for name, (shape, dtype) in layout.items()
        }


def host_integers(values: Sequence[int], device: torch.device) -> Tensor:
    """int64 on the host, from where `copy_` and `to` with `non_blocking` take them while the host goes on."""
    return torch.tensor(values, dtype=torch.int64, pin_memory=device.type == "cuda")


def layout_bytes(layout: Layout) -> int:
    """Bytes of its buffers."""
    return sum(torch.Size(shape).numel() * dtype.itemsize for shape, dtype in layout.values())


def bucket_size(size: int, minimum: int, maximum: int) -> int:
    """The next power of two from `size`, clamped to [minimum, maximum]: each shape needs a recording of its own."""
    return min(max(1 << (size - 1).bit_length(), minimum), maximum)


def buckets(minimum: int, maximum: int) -> list[int]:
    """All that `bucket_size` returns."""
    sizes = [minimum]
    while sizes[-1] < maximum:
        sizes.append(bucket_size(sizes[-1] + 1, minimum, maximum))
    return sizes
