"""Each stage has the number format that was asked for, and bfloat16 is near to float32."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import glmtts
from glmtts.checkpoint import precision
from glmtts.checkpoint.loader import Model
from glmtts.checkpoint.precision import bfloat16_is_faster, cast_stages, llm_dtype
from glmtts.config import EXACT_FORMATS, StageFormats
from glmtts.models.vocoder.hift import HiFT
from tests.helpers.tiny_checkpoint import write_tiny_checkpoint

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("precision") / "tiny")


def load(checkpoint: Path, formats: StageFormats) -> Model:
    model = glmtts.load(checkpoint, device="cpu", dtype=llm_dtype(formats, CPU))
    cast_stages(model, formats)
    return model


def in_bfloat16(module: nn.Module) -> bool:
    return any(parameter.dtype == torch.bfloat16 for parameter in module.parameters())


def stages_in_bfloat16(model: Model) -> set[str]:
    modules = {"llm": model.llm, "flow": model.flow, "vocoder": model.vocoders[24000]}
    return {name for name, module in modules.items() if isinstance(module, nn.Module) and in_bfloat16(module)}


@pytest.mark.parametrize("stage", ["llm", "flow", "vocoder"])
def test_a_stage_has_its_own_format(tiny: Path, stage: str) -> None:
    """What is asked for one leaves the others as they are."""
    assert stages_in_bfloat16(load(tiny, StageFormats(**{"flow": "float32", stage: "bfloat16"}))) == {stage}
    assert stages_in_bfloat16(load(tiny, EXACT_FORMATS)) == set()


@pytest.mark.parametrize("faster", [True, False])
def test_auto_is_what_suits_the_device(tiny: Path, monkeypatch: pytest.MonkeyPatch, faster: bool) -> None:
    """The llm by the kind of device, the flow by a trial, the vocoder never."""
    monkeypatch.setattr(precision, "bfloat16_is_faster", lambda device: faster)
    assert stages_in_bfloat16(load(tiny, StageFormats())) == ({"flow"} if faster else set())
    assert [llm_dtype(StageFormats(), device) for device in (CPU, CUDA)] == [torch.float32, torch.bfloat16]


def test_the_trial_has_a_result() -> None:
    assert bfloat16_is_faster(CPU) in (True, False)


@torch.inference_mode()
def test_a_vocoder_in_bfloat16_keeps_the_source_and_nearly_the_wave(tiny: Path) -> None:
    """The same phases, to carry over; a wave that differs by less than another draw of the noise would make it."""
    exact, half = (load(tiny, formats).vocoders[24000] for formats in (EXACT_FORMATS, StageFormats(vocoder="bfloat16")))
    assert isinstance(half, HiFT)
    mel_bct, seeds = torch.randn(1, 80, 40, generator=torch.Generator().manual_seed(1)), torch.tensor([3])
    wave, phase = exact.render_window(mel_bct, seeds)
    other_wave, other_phase = half.render_window(mel_bct, seeds)
    assert torch.equal(phase, other_phase)
    assert other_wave.dtype == torch.float32
    difference, two_draws = (wave - other_wave).norm(), (wave - exact(mel_bct, seeds + 1)).norm()
    assert 0 < float(difference) < float(two_draws)
