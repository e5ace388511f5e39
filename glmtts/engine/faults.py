"""What goes wrong on a device, as errors of ours. Knows nothing about what was being done."""

from __future__ import annotations

import torch

from glmtts.errors import DeviceMemoryError, EngineError, GlmTtsError

# The CPU's allocator has no exception of its own.
_CPU_OUT_OF_MEMORY = "can't allocate memory"


def as_ours(error: Exception) -> GlmTtsError:
    """The error that the caller of a job shall get."""
    if isinstance(error, GlmTtsError):
        return error
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or _CPU_OUT_OF_MEMORY in str(error):
        return DeviceMemoryError("the request did not fit into the device's memory")
    return EngineError(f"{type(error).__name__}: {error}")
