"""The roofline of a machine (Williams et al. 2009): its peak arithmetic and bandwidth, and measurements against them.

Everything runs on torch's default device.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop

FLOP_FORMULAS = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop(q, k, v)
}


@dataclass(frozen=True)
class Stage:
    """One measurement; times in ms.

    `arithmetic`, `reading` and `launches` are what its operations, its memory traffic and its kernel launches take at
    the machine's limits. `per_second`: tokens, or seconds of audio.
    """

    stage: str
    ms: float
    arithmetic: float
    reading: float
    launches: float
    per_second: float

    @property
    def bound(self) -> float:
        """The least time it could take: the longer of arithmetic and reading, plus the launches."""
        return max(self.arithmetic, self.reading) + self.launches


@dataclass(frozen=True)
class Roofline:
    """Measures the machine's limits with torch's current number of threads; each is a median of `repeats` runs."""

    repeats: int

    def flops_per_second(self, dtype: torch.dtype = torch.float32, size: int = 1024) -> float:
        """Of a matrix product; a multiplication and an addition count as two."""
        a, b = (torch.rand(size, size).to(dtype) for _ in range(2))
        return 2 * size**3 / median_seconds(lambda: a @ b, self.repeats)

    def bytes_per_second(self, size_bytes: int) -> float:
        """Of reading a buffer of that size (a small one stays in a cache): the better of a sum and a product."""
        rows = max(64, size_bytes // (4 * 4096))
        matrix, vector = torch.rand(rows, 4096), torch.rand(4096)
        seconds = [median_seconds(work, self.repeats) for work in (matrix.sum, lambda: matrix @ vector)]
        return matrix.nbytes / min(seconds)


def median_seconds(work: Callable[[], object], repeats: int) -> float:
    """Median time of `work`, the device's part included, after one warm-up run."""
    synchronize = torch.cuda.synchronize if torch.get_default_device().type == "cuda" else lambda: None
    work()
    seconds = []
    for _ in range(repeats):
        synchronize()
        start = time.perf_counter()
        work()
        synchronize()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def count_flops(work: Callable[[], object]) -> float:
    """Floating-point operations of its matrix products, convolutions and attention."""
    with FlopCounterMode(display=False, custom_mapping=FLOP_FORMULAS) as counter:
        work()
    return float(counter.get_total_flops())


def table(stages: list[Stage]) -> str:
    """As Markdown; times in ms."""
    lines = [
        "| stage | ms | arithmetic | reading | launches | bound | times the bound | per second |",
        "|---|" + "---|" * 7,
    ]
    for stage in stages:
        ratio = f"{stage.ms / stage.bound:.2f}" if stage.bound else ""
        costs = (stage.ms, stage.arithmetic, stage.reading, stage.launches, stage.bound)
        numbers = " | ".join(f"{cost:.2f}" if cost else "–" for cost in costs)
        lines.append(f"| {stage.stage} | {numbers} | {ratio} | {stage.per_second:.1f} |")
    return "\n".join(lines)
