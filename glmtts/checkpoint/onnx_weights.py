"""CAM++'s weights from an ONNX graph, their official form, under the names of the torch file.

Exporters rename weights and fold a batch norm into the convolution before it, so names are of no use: the graph's
convolutions and norms are matched with the module's in order.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from glmtts.errors import CheckpointError

_Norm = nn.BatchNorm1d | nn.BatchNorm2d
_Conv = nn.Conv1d | nn.Conv2d
_NORM_PARTS = ("weight", "bias", "running_mean", "running_var")
"""A BatchNormalization node's inputs after the signal."""


def read_onnx(path: Path, module: nn.Module) -> dict[str, Tensor]:
    """The state dict of `module` from the graph in `path`; the module must define its layers in execution order.

    A folded norm becomes one that only adds the folded bias. Raises CheckpointError if the package onnx is not
    installed, the file is not an ONNX model, or its convolutions and norms are not the module's.
    """
    nodes = _weighted_nodes(path)
    state = {name: torch.zeros_like(value) for name, value in module.state_dict().items()}
    folded: Tensor | None = None
    for name, layer in module.named_modules():
        if isinstance(layer, _Norm) and folded is not None:
            values = _bias_only(layer, folded)
            folded = None
        elif isinstance(layer, _Conv | _Norm):
            if folded is not None:
                raise CheckpointError(f"{path}: expected a convolution without bias before {name}, got one with")
            expected = "Conv" if isinstance(layer, _Conv) else "BatchNormalization"
            kind, tensors = next(nodes, ("end of the graph", []))
            if kind != expected:
                raise CheckpointError(f"{path}: expected {expected} {name}, got {kind}")
            values = dict(zip(("weight", "bias") if expected == "Conv" else _NORM_PARTS, tensors, strict=False))
            if isinstance(layer, _Conv) and layer.bias is None:
                folded = values.pop("bias", None)
        else:
            continue
        _put(state, name, values, path)
    if folded is not None or next(nodes, None) is not None:
        raise CheckpointError(f"{path}: expected the convolutions and norms of CAM++, got more")
    return state


def _bias_only(norm: _Norm, bias: Tensor) -> dict[str, Tensor]:
    """The norm that computes x + bias. The bias is in the mean, because a norm may have no affine part."""
    one = torch.ones_like(bias)
    return {"weight": one, "bias": 0 * one, "running_mean": -bias, "running_var": one - norm.eps}


def _put(state: dict[str, Tensor], layer: str, values: dict[str, Tensor], path: Path) -> None:
    """Copies `values` into the state dict. A norm without affine part takes only a scale of 1 and a shift of 0."""
    for part, value in values.items():
        target = state.get(f"{layer}.{part}")
        if target is None:
            if not bool((value == (1 if part == "weight" else 0)).all()):
                raise CheckpointError(f"{path}: expected {layer} without {part}, got one with")
            continue
        if target.shape != value.shape:
            raise CheckpointError(
                f"{path}: {layer}.{part}: expected shape {tuple(target.shape)}, got {tuple(value.shape)}"
            )
        target.copy_(value)


def _weighted_nodes(path: Path) -> Iterator[tuple[str, list[Tensor]]]:
    """(operator, its constant inputs) of every convolution and batch norm, in the graph's order."""
    try:
        import onnx
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    except ImportError as error:
        raise CheckpointError(f"{path}: reading ONNX needs the package onnx (extra: onnx)") from error
    try:
        graph = onnx.load(path).graph
    except (OSError, ValueError, DecodeError) as error:
        raise CheckpointError(f"{path}: not readable as an ONNX model: {error}") from error
    constants: dict[str, Any] = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            constants.update((node.output[0], a.t) for a in node.attribute if a.name == "value")
        elif node.op_type == "Identity" and node.input[0] in constants:  # exporters share equal weights this way
            constants[node.output[0]] = constants[node.input[0]]
        elif node.op_type in ("Conv", "BatchNormalization"):
            missing = [name for name in node.input[1:] if name not in constants]
            if missing:
                raise CheckpointError(f"{path}: {node.op_type} {node.name!r}: expected constant inputs, got {missing}")
            yield (
                node.op_type,
                [torch.from_numpy(onnx.numpy_helper.to_array(constants[name]).copy()) for name in node.input[1:]],
            )
