"""The state of the model's device. NVML is faked: the real one needs a GPU."""

import sys
from types import SimpleNamespace

import pytest

from server.observability import device


class NVMLError(Exception):
    pass


def library(*, mig: bool = False) -> SimpleNamespace:
    """The part of pynvml that the server uses, with two GPUs: the second is full and busy."""

    def rates(handle: str) -> SimpleNamespace:
        if mig:
            raise NVMLError("not supported")
        return SimpleNamespace(gpu=75 if handle in ("1", "GPU-b") else 0)

    return SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByIndex=str,
        nvmlDeviceGetHandleByUUID=str,
        nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(used=80 if handle in ("1", "GPU-b") else 1, total=80),
        nvmlDeviceGetUtilizationRates=rates,
    )


def test_a_cpu_reports_the_process_and_the_host() -> None:
    """Used is the memory of the process, total that of the host."""
    read = device.make_reader("cpu")
    assert read is not None
    state = read()
    assert 10**6 < state.used_bytes < state.total_bytes
    assert state.utilization is None


@pytest.mark.parametrize(
    ("name", "visible", "expected"),
    [("cuda", None, "0"), ("cuda:1", "", "1"), ("cuda", "3,2", "3"), ("cuda:1", "GPU-a, GPU-b", "GPU-b")],
)
def test_cuda_indices_are_mapped_to_nvml(name: str, visible: str | None, expected: str) -> None:
    """CUDA numbers only the visible devices."""
    assert device.nvml_id(name, visible) == expected


@pytest.mark.parametrize("visible", ["0,1", "GPU-a,GPU-b"])
def test_a_gpu_reports_memory_and_utilization(monkeypatch: pytest.MonkeyPatch, visible: str) -> None:
    """By index and by UUID."""
    monkeypatch.setitem(sys.modules, "pynvml", library())
    read = device.make_reader("cuda:1", {"CUDA_VISIBLE_DEVICES": visible})
    assert read is not None
    assert read() == device.DeviceState(used_bytes=80, total_bytes=80, utilization=0.75)


def test_a_mig_slice_reports_memory_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its utilization is unknown."""
    monkeypatch.setitem(sys.modules, "pynvml", library(mig=True))
    read = device.make_reader("cuda", {})
    assert read is not None
    assert read() == device.DeviceState(used_bytes=1, total_bytes=80, utilization=None)


@pytest.mark.parametrize("name", ["cuda", "cuda:7", "mps"])
def test_an_unknown_device_has_no_state(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Without NVML, with an index that is not visible, or of another kind: no metrics, and no error."""
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert device.make_reader(name, {"CUDA_VISIBLE_DEVICES": "0"}) is None
