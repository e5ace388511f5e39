"""Which number format a CPU is fast in, found out by trying. Knows nothing about models."""

from __future__ import annotations

import time
from functools import cache

import torch

SIZE, TRIALS = 512, 5


@cache
def bfloat16_is_faster() -> bool:
    """Whether this CPU multiplies matrices faster in bfloat16 than in float32: with AMX several times as fast, without
    AVX-512 many times slower."""
    half, full = (_best(dtype) for dtype in (torch.bfloat16, torch.float32))
    return half < full


def _best(dtype: torch.dtype) -> float:
    a, b = (torch.ones(SIZE, SIZE, dtype=dtype) for _ in range(2))
    times = []
    for _ in range(TRIALS):
        began = time.perf_counter()
        a @ b
        times.append(time.perf_counter() - began)
    return min(times)
