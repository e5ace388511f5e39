"""AR models small enough for a test: random weights, a few layers, grouped heads."""

from __future__ import annotations

from typing import Any

import torch
from transformers import LlamaConfig

from glmtts.models.llm.llama import Llama


def tiny_config(**changes: Any) -> LlamaConfig:
    """Two layers of 4 query and 2 key heads over 60 ids, with `changes`."""
    sizes: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 60,
        "max_position_embeddings": 512,
    }
    return LlamaConfig(**(sizes | changes))


def tiny_llama(seed: int = 0, *, std: float = 0.3, **changes: Any) -> Llama:
    """A Llama whose weights are large enough (`std`) for its outputs to depend on positions and neighbours."""
    torch.manual_seed(seed)
    llama = Llama(tiny_config(initializer_range=std, **changes)).eval()
    llama.init_weights()
    return llama
