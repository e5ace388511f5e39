"""How much memory a device has left, and refusing what would not fit. Knows nothing about what it is for."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from glmtts.errors import DeviceMemoryError

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")
_MIB = 2**20


def free_bytes(device: torch.device) -> int | None:
    """What can still be taken; None where that cannot be told."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    known = [value for value in (_available(), _group_left()) if value is not None]
    return min(known, default=None)


def refuse_unless_fits(what: str, wanted: int, device: torch.device) -> None:
    """DeviceMemoryError with the numbers when `wanted` bytes are more than there are."""
    free = free_bytes(device)
    if free is not None and wanted > free:
        raise DeviceMemoryError(
            f"{what} takes {wanted / _MIB:.0f} MiB, but {device} has {free / _MIB:.0f} MiB left: take fewer slots"
        )


def _available() -> int | None:
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB", _MEMINFO.read_text(encoding="ascii"), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def _group_left() -> int | None:
    """Of this container, where it has a limit (cgroup v2)."""
    try:
        limit, used = ((_CGROUP / f"memory.{name}").read_text(encoding="ascii").strip() for name in ("max", "current"))
    except OSError:
        return None
    return int(limit) - int(used) if limit != "max" else None
