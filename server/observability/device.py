"""Memory and load of the device that the model runs on: NVIDIA's management library for a GPU, the host for a CPU.

Knows nothing about models or Prometheus. The library (package nvidia-ml-py, extra `gpu`) numbers GPUs by their place
on the bus: on a machine with unlike ones CUDA does too only under CUDA_DEVICE_ORDER=PCI_BUS_ID.
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
    """Bytes in use (on a GPU by everybody, on a CPU by this process) and in all; share of time at work, 0 to 1."""

    used: int
    total: int
    busy: float | None = None


Reader = Callable[[], DeviceState]


def reader(device: str, environ: Mapping[str, str] = os.environ) -> Reader | None:
    """How to read the state of a torch device; None where nothing tells it. What it returns may raise."""
    if device.startswith("cpu"):
        return _host
    if not device.startswith("cuda"):
        return None
    try:
        return _gpu(visible(device, environ.get("CUDA_VISIBLE_DEVICES")))
    except ImportError:
        log.warning("no GPU metrics: the package nvidia-ml-py is missing (extra gpu)")
    except Exception as error:  # NVML's errors share no base with ours, and metrics must not end the program
        log.warning("no GPU metrics: %s", error)
    return None


def visible(device: str, visible_devices: str | None) -> str:
    """The index or UUID by which NVML knows `cuda` or `cuda:N`, when CUDA_VISIBLE_DEVICES reads so."""
    index = int(device.partition(":")[2] or 0)
    if not visible_devices:
        return str(index)
    return visible_devices.split(",")[index].strip()


def _host() -> DeviceState:
    resident = int(Path("/proc/self/statm").read_text().split()[1])
    page = os.sysconf("SC_PAGE_SIZE")
    return DeviceState(used=resident * page, total=os.sysconf("SC_PHYS_PAGES") * page)


def _gpu(name: str) -> Reader:
    import pynvml

    pynvml.nvmlInit()
    by_index = name.isdigit()
    handle = pynvml.nvmlDeviceGetHandleByIndex(int(name)) if by_index else pynvml.nvmlDeviceGetHandleByUUID(name)

    def read() -> DeviceState:
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        return DeviceState(int(memory.used), int(memory.total), _busy(pynvml, handle))

    return read


def _busy(pynvml: Any, handle: Any) -> float | None:
    try:
        return float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu) / 100
    except pynvml.NVMLError:  # a MIG slice has no rate of its own
        return None
