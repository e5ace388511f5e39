"""What decides how much memory a model takes, from a checkpoint's headers and configs, before any weights are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from glmtts.checkpoint import components
from glmtts.checkpoint.flow_config import read_flow_config
from glmtts.checkpoint.weights import StoredTensor, drop_keys, read_json_object, read_safetensors, read_torch
from glmtts.config import FlowConfig
from glmtts.models.encoders.speaker_encoder import CampPlus
from glmtts.models.encoders.speech_tokenizer import WhisperVQConfig, encoder_weights

if TYPE_CHECKING:
    from transformers import LlamaConfig

FLOAT32_BYTES = 4


@dataclass(frozen=True)
class ModelSizes:
    """`llm_dtype` is that of most of its numbers in the files; `other_bytes` are the other parts' weights, float32."""

    llm_config: LlamaConfig
    flow_config: FlowConfig
    llm_numbers: int
    llm_dtype: torch.dtype
    other_bytes: int


def read_sizes(root: Path) -> ModelSizes:
    """Sizes of the checkpoint in `root`. CheckpointError if a file is missing or not readable."""
    with torch.device("meta"):
        llm = drop_keys(read_safetensors(root / "llm"), components.UNUSED_LLM)
        numbers: Counter[torch.dtype] = Counter()
        for tensor in llm.values():
            numbers[tensor.dtype] += tensor.numel()
        config = WhisperVQConfig.from_hf(read_json_object(root / "speech_tokenizer" / "config.json"))
        others = (
            read_torch(root / "flow" / "flow.pt"),
            read_torch(root / "hift" / "hift.pt"),
            encoder_weights(read_safetensors(root / "speech_tokenizer"), config),
            {name: StoredTensor.of(value) for name, value in CampPlus().state_dict().items()},
        )
    return ModelSizes(
        llm_config=components.read_llm_config(root / "llm"),
        flow_config=read_flow_config(root / "flow" / "config.yaml"),
        llm_numbers=numbers.total(),
        llm_dtype=numbers.most_common(1)[0][0],
        other_bytes=FLOAT32_BYTES * sum(map(_numbers, others)),
    )


def _numbers(state: Mapping[str, StoredTensor]) -> int:
    return sum(tensor.numel() for tensor in state.values())
