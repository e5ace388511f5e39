"""Weights of the AR transformer's layers in int8: half the memory of bfloat16, and half the bytes that a step reads.

Each output channel has a scale of its own (weight-only quantisation, as in Dettmers et al. 2022, arXiv:2208.07339,
without its outliers). Embedding and head keep their format: the embedding is read row by row, and the head decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from glmtts.models.row_blocks import linear

if TYPE_CHECKING:
    from transformers import LlamaConfig

LARGEST = 127
PACKED_ROWS = 8
"""Up to so many rows, as in decoding, a CPU multiplies faster without making floating point of the weights first."""


class Int8Linear(nn.Module):
    """x (…, inputs) to (…, outputs); `weight` int8 (outputs, inputs), `scale` and `bias` (outputs,) in x's format."""

    weight: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, scale: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale)
        self.register_buffer("bias", bias)

    @classmethod
    def of(cls, *layers: nn.Linear) -> Int8Linear:
        """Linears of one input as one, quantised."""
        parts = [_quantise(layer.weight.detach()) for layer in layers]
        biases = [layer.bias.detach() for layer in layers if layer.bias is not None]
        weight, scale = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        return cls(weight, scale, torch.cat(biases) if biases else None)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        if x.device.type == "cpu" and len(rows) <= PACKED_ROWS:
            out: Tensor = torch.ops.aten._weight_int8pack_mm(rows, self.weight, self.scale)
            out = out.view(*x.shape[:-1], -1)
        else:
            out = linear(x, self.weight.to(x.dtype)) * self.scale
        return out if self.bias is None else out + self.bias


def _quantise(weight: Tensor) -> tuple[Tensor, Tensor]:
    """int8 (outputs, inputs) and scales (outputs,), whose product is about `weight`."""
    scale = weight.abs().amax(dim=1).float().clamp_min(1e-12) / LARGEST
    quantised = (weight.float() / scale[:, None]).round_().to(torch.int8)
    return quantised, scale.to(weight.dtype)


def int8_bytes(config: LlamaConfig, numbers: int, dtype: torch.dtype) -> int:
    """Bytes of a Llama of `numbers` weights with its layers in int8 and the rest in `dtype`; scales not counted."""
    tables = config.vocab_size * config.hidden_size * (1 if config.tie_word_embeddings else 2)
    return numbers - tables + tables * dtype.itemsize
