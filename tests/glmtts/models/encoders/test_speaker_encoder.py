from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from glmtts.checkpoint.onnx_weights import read_onnx
from glmtts.checkpoint.weights import load_strict, read_torch
from glmtts.models.encoders.speaker_encoder import EMBEDDING, CampPlus
from tests.helpers.golden import load_case

TOLERANCE = 2e-4


def weights() -> Path:
    """The published weights: GLMTTS_CAMPPLUS (a torch file or ONNX), or those of the nano checkpoint."""
    nano = Path(__file__).resolve().parents[4] / "checkpoints" / "nano" / "frontend" / "campplus.pt"
    path = Path(os.environ.get("GLMTTS_CAMPPLUS") or nano)
    if not path.is_file():
        raise FileNotFoundError(f"no CAM++ weights at {path}: set GLMTTS_CAMPPLUS to the file that holds them")
    return path


@pytest.fixture(scope="module")
def published() -> CampPlus:
    model = CampPlus().eval()
    path = weights()
    load_strict(model, read_onnx(path, model) if path.suffix == ".onnx" else read_torch(path), where=str(path))
    return model


@pytest.fixture(scope="module")
def random() -> CampPlus:
    """Random weights, with norms that are not the identity."""
    torch.manual_seed(0)
    model = CampPlus().eval()
    for norm in model.modules():
        if isinstance(norm, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            assert norm.running_mean is not None
            assert norm.running_var is not None
            norm.running_mean.normal_(0, 0.1)
            norm.running_var.uniform_(0.5, 2)
    return model


def test_golden(published: CampPlus) -> None:
    """Embeddings of waveforms and of filter banks equal the published ones."""
    _, tensors, _ = load_case("campplus")
    numbers = [name.removeprefix("wav") for name in tensors if name.startswith("wav")]
    assert numbers
    for number in numbers:
        expected = tensors[f"embedding{number}"]
        with torch.inference_mode():
            from_fbank = published(tensors[f"fbank{number}"].unsqueeze(0))
        torch.testing.assert_close(from_fbank, expected, rtol=0, atol=TOLERANCE)
        embedded = published.embed(tensors[f"wav{number}"][0])
        torch.testing.assert_close(embedded, expected[0], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("frames", [3, 4, 199, 200, 201, 399, 401])
def test_any_number_of_frames(random: CampPlus, frames: int) -> None:
    """Three or more frames give a finite vector: the last segment of the context need not be whole."""
    with torch.inference_mode():
        assert random(torch.randn(1, frames, 80)).isfinite().all()


def test_a_batched_row_equals_the_row_alone(random: CampPlus) -> None:
    """A row of a batch gets the vector that it gets alone."""
    features = torch.randn(3, 60, 80)
    with torch.inference_mode():
        alone = torch.cat([random(row.unsqueeze(0)) for row in features])
        torch.testing.assert_close(random(features), alone, rtol=1e-4, atol=1e-4)


def test_loudness_changes_nothing(random: CampPlus) -> None:
    """The mean over time removes the gain: audio at half the volume gives the same speaker vector."""
    wave = torch.randn(8000) * 0.1
    louder, softer = random.embed(wave), random.embed(wave / 2)
    assert louder.shape == (EMBEDDING,)
    torch.testing.assert_close(louder, softer, rtol=1e-3, atol=1e-3)


def test_layers_are_defined_in_the_order_of_execution(random: CampPlus) -> None:
    """Convolutions and norms run in the order in which they are defined, which reading ONNX relies on."""
    kinds = torch.nn.Conv1d | torch.nn.Conv2d | torch.nn.BatchNorm1d | torch.nn.BatchNorm2d
    layers = {layer: name for name, layer in random.named_modules() if isinstance(layer, kinds)}
    ran: list[str] = []
    hooks = [layer.register_forward_hook(lambda layer, *_: ran.append(layers[layer])) for layer in layers]
    try:
        with torch.inference_mode():
            random(torch.randn(1, 20, 80))
    finally:
        for hook in hooks:
            hook.remove()
    assert ran == list(layers.values())
