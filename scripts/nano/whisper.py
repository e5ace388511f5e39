"""Reads Whisper base's encoder from a CTranslate2 file, and gives its weights Whisper-VQ's names.

File format (CTranslate2 `model.bin`, little endian): version u32, spec name, revision u32, count u32, then for
each variable name, rank u8, dimensions u32, type u8 (4 is float16), bytes u32 and the data.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

_FLOAT16 = 4
_LAYER = {
    "self_attention/layer_norm/gamma": "self_attn_layer_norm.weight",
    "self_attention/layer_norm/beta": "self_attn_layer_norm.bias",
    "self_attention/linear_1/weight": "self_attn.out_proj.weight",
    "self_attention/linear_1/bias": "self_attn.out_proj.bias",
    "ffn/layer_norm/gamma": "final_layer_norm.weight",
    "ffn/layer_norm/beta": "final_layer_norm.bias",
    "ffn/linear_0/weight": "fc1.weight",
    "ffn/linear_0/bias": "fc1.bias",
    "ffn/linear_1/weight": "fc2.weight",
    "ffn/linear_1/bias": "fc2.bias",
}
_TOP = {
    "conv1/weight": "conv1.weight",
    "conv1/bias": "conv1.bias",
    "conv2/weight": "conv2.weight",
    "conv2/bias": "conv2.bias",
    "position_encodings/encodings": "embed_positions.weight",
}


def _variables(stream: BinaryIO) -> dict[str, Tensor]:
    def number(code: str) -> int:
        return int(struct.unpack("<" + code, stream.read(struct.calcsize("<" + code)))[0])

    def string() -> str:
        return stream.read(number("H")).rstrip(b"\0").decode()

    number("I"), string(), number("I")
    tensors = {}
    for _ in range(number("I")):
        name = string()
        shape = [number("I") for _ in range(number("B"))]
        kind, size = number("B"), number("I")
        data = stream.read(size)
        if kind == _FLOAT16:
            tensors[name] = torch.from_numpy(np.frombuffer(data, np.float16).reshape(shape).astype(np.float32))
    return tensors


def encoder(model: Path) -> dict[str, Tensor]:
    """Weights of all encoder layers, with the names of `glmtts.models.encoders.speech_tokenizer.WhisperVQ`."""
    with model.open("rb") as stream:
        variables = _variables(stream)
    state = {ours: variables[f"encoder/{theirs}"] for theirs, ours in _TOP.items()}
    layer = 0
    while f"encoder/layer_{layer}/ffn/linear_0/weight" in variables:
        prefix, target = f"encoder/layer_{layer}/", f"layers.{layer}."
        state.update({target + ours: variables[prefix + theirs] for theirs, ours in _LAYER.items()})
        weights = variables[prefix + "self_attention/linear_0/weight"].chunk(3)
        biases = variables[prefix + "self_attention/linear_0/bias"].chunk(3)
        for name, weight, bias in zip(("q_proj", "k_proj", "v_proj"), weights, biases, strict=True):
            state[f"{target}self_attn.{name}.weight"] = weight
            if name != "k_proj":  # Whisper's keys have no bias; CTranslate2 stores zeros
                state[f"{target}self_attn.{name}.bias"] = bias
        layer += 1
    return state
