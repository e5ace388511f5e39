"""Measures which number format a CPU is fast in."""

from __future__ import annotations

import time
from functools import cache

import torch
from torch.nn import functional as F

SIZE, TRIALS = 512, 5
DECODE_ROWS, DECODE_OUTPUTS, DECODE_INPUTS = 4, 4096, 2048
"""A decode step: few rows, and weights that no cache holds."""


@cache
def bfloat16_is_faster() -> bool:
    """Whether this CPU multiplies matrices faster in bfloat16 than in float32: several times as fast with AMX, many
    times slower without AVX-512."""
    return _is_faster(SIZE, SIZE, SIZE)


@cache
def bfloat16_decodes_faster() -> bool:
    """Whether this CPU makes decode steps faster in bfloat16 than in float32: they read half as many bytes."""
    return _is_faster(DECODE_ROWS, DECODE_INPUTS, DECODE_OUTPUTS)


def _is_faster(rows: int, inputs: int, outputs: int) -> bool:
    half, full = (_best(rows, inputs, outputs, dtype) for dtype in (torch.bfloat16, torch.float32))
    return half < full


def _best(rows: int, inputs: int, outputs: int, dtype: torch.dtype) -> float:
    x, weight = torch.ones(rows, inputs, dtype=dtype), torch.ones(outputs, inputs, dtype=dtype)
    times = []
    for _ in range(TRIALS):
        start = time.perf_counter()
        F.linear(x, weight)
        times.append(time.perf_counter() - start)
    return min(times)
