"""What goes wrong on a device: as errors of ours, and how often. Knows nothing about what was being done."""

from __future__ import annotations

import logging

import torch

from glmtts.errors import DeviceMemoryError, EngineError, GlmTtsError

log = logging.getLogger(__name__)

# The CPU's allocator has no exception of its own.
_CPU_OUT_OF_MEMORY = "can't allocate memory"


def as_ours(error: Exception) -> GlmTtsError:
    """The error that the caller of a job shall get."""
    if isinstance(error, GlmTtsError):
        return error
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or _CPU_OUT_OF_MEMORY in str(error):
        return DeviceMemoryError("the request did not fit into the device's memory")
    return EngineError(f"{type(error).__name__}: {error}")


class Retries:
    """Counts batches that failed and are tried again row by row. A batch that always fails does not fill the log."""

    def __init__(self, what: str) -> None:
        self._what = what
        self.count = 0

    def note(self, rows: int, error: Exception) -> None:
        self.count += 1
        if self.count & (self.count - 1) == 0:
            log.warning("%s of %d failed, each is tried alone (%d so far): %s", self._what, rows, self.count, error)
