"""What a machine can do at best, and a measurement beside it: products, reading, time; on torch's default device.

Knows nothing about models.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop

COUNTED = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop(q, k, v)}


@dataclass(frozen=True)
class Stage:
    """One measurement, in ms; `floor` is the greater of arithmetic and reading, and the launches.

    per_second: tokens, or seconds of sound.
    """

    stage: str
    ms: float
    arithmetic: float
    reading: float
    launches: float
    per_second: float

    @property
    def floor(self) -> float:
        return max(self.arithmetic, self.reading) + self.launches


@dataclass(frozen=True)
class Machine:
    """What it can do with the threads that were given: multiplications and additions a second, bytes a second."""

    repeats: int

    def operations(self, dtype: torch.dtype = torch.float32, size: int = 1024) -> float:
        a, b = (torch.rand(size, size).to(dtype) for _ in range(2))
        return 2 * size**3 / timed(lambda: a @ b, self.repeats)

    def read(self, size: int) -> float:
        """Of a buffer of so many bytes: small ones come out of a cache. The best of a sum and of a product."""
        rows = max(64, size // (4 * 4096))
        matrix, vector = torch.rand(rows, 4096), torch.rand(4096)
        return matrix.nbytes / min(timed(matrix.sum, self.repeats), timed(lambda: matrix @ vector, self.repeats))


def timed(work: Callable[[], object], repeats: int) -> float:
    """Median of the seconds that it takes, the device's work included, after one that does not count."""
    finish = torch.cuda.synchronize if torch.get_default_device().type == "cuda" else lambda: None
    work()
    seconds = []
    for _ in range(repeats):
        finish()
        began = time.perf_counter()
        work()
        finish()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def operations(work: Callable[[], object]) -> float:
    """Of its matrix products, convolutions and attention."""
    with FlopCounterMode(display=False, custom_mapping=COUNTED) as counter:
        work()
    return float(counter.get_total_flops())


def table(stages: list[Stage]) -> str:
    """As Markdown; times in ms."""
    lines = [
        "| stage | ms | arithmetic | reading | launches | floor | times the floor | a second |",
        "|---|" + "---|" * 7,
    ]
    for one in stages:
        ratio = f"{one.ms / one.floor:.2f}" if one.floor else ""
        costs = (one.ms, one.arithmetic, one.reading, one.launches, one.floor)
        numbers = " | ".join(f"{cost:.2f}" if cost else "–" for cost in costs)
        lines.append(f"| {one.stage} | {numbers} | {ratio} | {one.per_second:.1f} |")
    return "\n".join(lines)
