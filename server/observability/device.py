"""Memory and utilization of the device that the model runs on, from NVML for a GPU and from the host for a CPU.

NVML (package nvidia-ml-py, extra `gpu`) numbers GPUs by their position on the bus. With different GPUs in one machine
CUDA does the same only with CUDA_DEVICE_ORDER=PCI_BUS_ID.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DeviceState:
    """Memory in use (on a GPU by all processes, on a CPU by this one), total memory, and utilization, 0 to 1."""

    used_bytes: int
    total_bytes: int
    utilization: float | None = None


Reader = Callable[[], DeviceState]


def make_reader(device: str, environ: Mapping[str, str] = os.environ) -> Reader | None:
    """A function that reads the state of a torch device, and may raise; None if there is no way to read it."""
    if device.startswith("cpu"):
        return _read_host
    if not device.startswith("cuda"):
        return None
    try:
        return _gpu_reader(nvml_id(device, environ.get("CUDA_VISIBLE_DEVICES")))
    except ImportError:
        log.warning("no GPU metrics: the package nvidia-ml-py is missing (extra gpu)")
    except Exception as error:  # NVML errors have no base class of ours, and missing metrics must not stop the server
        log.warning("no GPU metrics: %s", error)
    return None


def nvml_id(device: str, visible_devices: str | None) -> str:
    """NVML's index or UUID of `cuda` or `cuda:N` for a value of CUDA_VISIBLE_DEVICES."""
    index = int(device.partition(":")[2] or 0)
    if not visible_devices:
        return str(index)
    return visible_devices.split(",")[index].strip()


def _read_host() -> DeviceState:
    resident = int(Path("/proc/self/statm").read_text().split()[1])
    page = os.sysconf("SC_PAGE_SIZE")
    return DeviceState(used_bytes=resident * page, total_bytes=os.sysconf("SC_PHYS_PAGES") * page)


def _gpu_reader(name: str) -> Reader:
    import pynvml

    pynvml.nvmlInit()
    by_index = name.isdigit()
    handle = pynvml.nvmlDeviceGetHandleByIndex(int(name)) if by_index else pynvml.nvmlDeviceGetHandleByUUID(name)

    def read() -> DeviceState:
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        return DeviceState(int(memory.used), int(memory.total), _utilization(pynvml, handle))

    return read


def _utilization(pynvml: Any, handle: Any) -> float | None:
    try:
        return float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu) / 100
    except pynvml.NVMLError:  # a MIG slice has no utilization of its own
        return None
