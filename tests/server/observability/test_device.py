"""The state of the model's device. The GPU's library is stood in for: where it is real there is a GPU."""

import sys
from types import SimpleNamespace

import pytest

from server.observability import device


class NVMLError(Exception):
    pass


def library(*, mig: bool = False) -> SimpleNamespace:
    """As much of pynvml as is used, with two GPUs: the second is full and busy."""

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


def test_on_a_cpu_it_is_this_process_and_this_host() -> None:
    """Used is what the process holds, total what the host has."""
    read = device.reader("cpu")
    assert read is not None
    state = read()
    assert 10**6 < state.used < state.total
    assert state.busy is None


@pytest.mark.parametrize(
    ("name", "visible", "wanted"),
    [("cuda", None, "0"), ("cuda:1", "", "1"), ("cuda", "3,2", "3"), ("cuda:1", "GPU-a, GPU-b", "GPU-b")],
)
def test_cudas_number_is_not_the_librarys(name: str, visible: str | None, wanted: str) -> None:
    """CUDA counts only what is visible to it."""
    assert device.visible(name, visible) == wanted


@pytest.mark.parametrize("visible", ["0,1", "GPU-a,GPU-b"])
def test_a_gpu_tells_memory_and_load(monkeypatch: pytest.MonkeyPatch, visible: str) -> None:
    """Found by index and by UUID."""
    monkeypatch.setitem(sys.modules, "pynvml", library())
    read = device.reader("cuda:1", {"CUDA_VISIBLE_DEVICES": visible})
    assert read is not None
    assert read() == device.DeviceState(used=80, total=80, busy=0.75)


def test_a_slice_of_a_gpu_has_memory_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rate of use is not known, and nothing is invented."""
    monkeypatch.setitem(sys.modules, "pynvml", library(mig=True))
    read = device.reader("cuda", {})
    assert read is not None
    assert read() == device.DeviceState(used=1, total=80, busy=None)


@pytest.mark.parametrize("name", ["cuda", "cuda:7", "mps"])
def test_a_device_that_nobody_knows_has_no_state(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Without the library, with a number that is not visible, or of another kind: no metrics, and no failure."""
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert device.reader(name, {"CUDA_VISIBLE_DEVICES": "0"}) is None
