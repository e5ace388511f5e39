"""The number formats of the stages: what `auto` stands for on a device, and casting a loaded model's weights.

float32 is what the published code computes in. How far bfloat16 is from it is in docs/performance.md.
"""

from __future__ import annotations

import time
from functools import cache

import torch
from torch.nn import functional as F

from glmtts.checkpoint.loader import Model
from glmtts.config import StageFormats
from glmtts.models.vocoder.hift import HiFT

CPU_SIZE, GPU_SIZE, TRIALS = 512, 4096, 5
"""Sizes of the products that are timed: small enough for a start, large enough for the arithmetic to count."""
DECODE_ROWS, DECODE_OUTPUTS, DECODE_INPUTS = 4, 4096, 2048
"""A decode step: few rows, and weights that no cache holds."""


def llm_dtype(formats: StageFormats, device: torch.device) -> torch.dtype:
    """That of the AR transformer's arithmetic: `auto` is bfloat16 on CUDA, where reading weights is the cost, and
    float32 elsewhere. With weights in `int8`, it is the format that the device decodes faster in."""
    if formats.llm in ("auto", "int8"):
        in_bfloat16 = device.type == "cuda" or (formats.llm == "int8" and bfloat16_decodes_faster())
    else:
        in_bfloat16 = formats.llm == "bfloat16"
    return torch.bfloat16 if in_bfloat16 else torch.float32


def flow_dtype(formats: StageFormats, device: torch.device) -> torch.dtype:
    """That of the flow's large matrices: `auto` is the format that the device is faster in."""
    in_bfloat16 = bfloat16_is_faster(device) if formats.flow == "auto" else formats.flow == "bfloat16"
    return torch.bfloat16 if in_bfloat16 else torch.float32


def cast_stages(model: Model, formats: StageFormats) -> None:
    """Quantises the AR transformer if asked to, and casts flow and vocoders, loaded in float32.

    For the vocoders, `auto` is float32. A vocoder that is code keeps its own format.
    """
    if formats.llm == "int8":
        model.llm.quantise()
    if flow_dtype(formats, model.device) == torch.bfloat16:
        model.flow.estimator.to_bfloat16()
    if formats.vocoder == "bfloat16":
        for vocoder in model.vocoders.values():
            if isinstance(vocoder, HiFT):
                vocoder.to_bfloat16()


@cache
def bfloat16_is_faster(device: torch.device) -> bool:
    """Whether the device multiplies matrices faster in bfloat16 than in float32: a GPU with tensor cores and a CPU with
    AMX do so several times as fast, a CPU without AVX-512 is many times slower."""
    size = GPU_SIZE if device.type == "cuda" else CPU_SIZE
    return _is_faster(device, size, size, size)


@cache
def bfloat16_decodes_faster() -> bool:
    """Whether a CPU makes decode steps faster in bfloat16 than in float32: they read half as many bytes."""
    return _is_faster(torch.device("cpu"), DECODE_ROWS, DECODE_INPUTS, DECODE_OUTPUTS)


def _is_faster(device: torch.device, rows: int, inputs: int, outputs: int) -> bool:
    half, full = (_best_seconds(device, rows, inputs, outputs, dtype) for dtype in (torch.bfloat16, torch.float32))
    return half < full


def _best_seconds(device: torch.device, rows: int, inputs: int, outputs: int, dtype: torch.dtype) -> float:
    x = torch.ones(rows, inputs, dtype=dtype, device=device)
    weight = torch.ones(outputs, inputs, dtype=dtype, device=device)
    times = []
    for _ in range(TRIALS):
        start = time.perf_counter()
        F.linear(x, weight)[0, 0].item()  # waits for the device
        times.append(time.perf_counter() - start)
    return min(times)
