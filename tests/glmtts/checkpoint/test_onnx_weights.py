from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from glmtts.checkpoint.onnx_weights import read_onnx
from glmtts.errors import CheckpointError
from glmtts.models.encoders.bucketed_conv import BucketedConv1d, BucketedConv2d
from glmtts.models.encoders.speaker_encoder import CampPlus


def small() -> nn.Sequential:
    """All cases of CAM++ in four channels: norms before and after, without affine part; with and without bias."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.BatchNorm1d(4),
        nn.Conv1d(4, 4, 3, bias=False),
        nn.BatchNorm1d(4),
        nn.ReLU(),
        nn.Conv1d(4, 3, 1),
        nn.ReLU(),
        nn.Conv1d(3, 3, 1, bias=False),
        nn.BatchNorm1d(3, affine=False),
    )
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) + (0.5 if name.endswith("var") else -0.5))
    return module.eval()


def write_plain(path: Path, module: nn.Sequential) -> None:
    """The module's convolutions and norms, as written by an exporter that folds nothing."""
    nodes, initializers = [], []
    for name, layer in module.named_children():
        if isinstance(layer, nn.ReLU):
            continue
        given: list[Tensor | None]
        if isinstance(layer, nn.BatchNorm1d):
            ones = torch.ones(layer.num_features)
            scale, shift = (layer.weight, layer.bias) if layer.affine else (ones, 0 * ones)
            kind, given = "BatchNormalization", [scale, shift, layer.running_mean, layer.running_var]
        else:
            assert isinstance(layer, nn.Conv1d)
            kind, given = "Conv", [layer.weight, layer.bias]
        names = []
        for number, tensor in enumerate(given):
            if tensor is not None:
                names.append(f"{name}:{number}")
                initializers.append(numpy_helper.from_array(tensor.detach().numpy(), names[-1]))
        nodes.append(helper.make_node(kind, [f"x{name}", *names], [f"y{name}"]))
    onnx.save(helper.make_model(helper.make_graph(nodes, "plain", [], [], initializers)), str(path))


def test_unfolded_weights_are_those_of_the_module(tmp_path: Path) -> None:
    """A graph in which nothing is folded gives back all weights."""
    module = small()
    write_plain(tmp_path / "plain.onnx", module)
    state = read_onnx(tmp_path / "plain.onnx", module)
    for name, value in module.state_dict().items():
        torch.testing.assert_close(state[name], value, rtol=0, atol=0)


def with_plain_convolutions(module: nn.Module) -> nn.Module:
    """The module as it was published: the exporter folds no norm behind a convolution that cuts its output."""
    for layer in module.modules():
        if type(layer) in (BucketedConv1d, BucketedConv2d):
            layer.__class__ = nn.Conv1d if isinstance(layer, nn.Conv1d) else nn.Conv2d
    return module


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the exporter that folds, as the official file's did
@pytest.mark.parametrize("build", [small, CampPlus])
def test_folded_weights_compute_the_same(tmp_path: Path, build: type[nn.Module]) -> None:
    """A graph whose exporter folded norms into convolutions gives weights that compute what the module computes."""
    module = with_plain_convolutions(build().eval())
    example = torch.randn(1, 4, 30) if build is small else torch.randn(1, 30, 80)
    path = tmp_path / "folded.onnx"
    torch.onnx.export(module, (example,), str(path), dynamo=False, opset_version=13)
    graph = onnx.load(str(path)).graph
    norms = sum(isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) for layer in module.modules())
    assert sum(node.op_type == "BatchNormalization" for node in graph.node) < norms
    loaded = build().eval()
    for parameter in loaded.parameters():
        nn.init.zeros_(parameter)
    loaded.load_state_dict(read_onnx(path, loaded))
    torch.testing.assert_close(loaded(example), module(example), rtol=1e-4, atol=1e-4)


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    """A graph with fewer layers, more layers or other shapes is a CheckpointError that says where."""
    path = tmp_path / "other.onnx"
    write_plain(path, small()[:5])
    with pytest.raises(CheckpointError, match=r"expected .*, got end of the graph"):
        read_onnx(path, small())
    write_plain(path, small())
    with pytest.raises(CheckpointError, match=r"expected the convolutions and norms .* got more"):
        read_onnx(path, small()[:5])
    with pytest.raises(CheckpointError, match=r"0\.weight: expected shape \(5,\), got \(4,\)"):
        read_onnx(path, nn.Sequential(nn.BatchNorm1d(5)))
    with pytest.raises(CheckpointError, match=r"expected Conv .*, got BatchNormalization"):
        read_onnx(path, nn.Sequential(nn.Conv1d(4, 4, 1)))


def test_a_computed_weight_is_refused(tmp_path: Path) -> None:
    """A convolution whose weight is not a constant of the graph is an error with its name."""
    node = helper.make_node("Conv", ["x", "computed"], ["y"], name="conv")
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 9])
    onnx.save(helper.make_model(helper.make_graph([node], "g", [x], [])), str(tmp_path / "g.onnx"))
    with pytest.raises(CheckpointError, match=r"'conv': expected constant inputs, got \['computed'\]"):
        read_onnx(tmp_path / "g.onnx", nn.Sequential(nn.Conv1d(4, 4, 1)))


def test_a_file_that_is_not_onnx_is_refused(tmp_path: Path) -> None:
    """Missing and damaged files are CheckpointErrors with the file."""
    (tmp_path / "bad.onnx").write_bytes(b"not a model at all")
    for name in ("bad.onnx", "absent.onnx"):
        with pytest.raises(CheckpointError, match=name):
            read_onnx(tmp_path / name, small())
