"""Failures on a device: as errors of this package, and counted."""

from __future__ import annotations

import logging

import torch

from glmtts.errors import DeviceMemoryError, EngineError, GlmTtsError

log = logging.getLogger(__name__)

# The CPU's allocator has no exception of its own.
_CPU_OUT_OF_MEMORY = "can't allocate memory"


def to_engine_error(error: Exception) -> GlmTtsError:
    """The error that the job's reader gets."""
    if isinstance(error, GlmTtsError):
        return error
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or _CPU_OUT_OF_MEMORY in str(error):
        return DeviceMemoryError("the request did not fit into the device's memory")
    return EngineError(f"{type(error).__name__}: {error}")


class RetryCounter:
    """Counts batches that failed and are retried row by row. Logs powers of two only, as a batch may always fail."""

    def __init__(self, what: str) -> None:
        self._what = what
        self.count = 0

    def record(self, rows: int, error: Exception) -> None:
        self.count += 1
        if self.count & (self.count - 1) == 0:
            log.warning("%s of %d failed, retrying each alone (%d so far): %s", self._what, rows, self.count, error)
