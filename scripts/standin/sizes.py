"""The sizes of a stand-in, in the words of the configs that it writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

CODES = 32768
"""Speech tokens."""


@dataclass(frozen=True)
class Sizes:
    """`llama`, `whisper`: config.json of `llm` and `speech_tokenizer`. `dit`: the estimator in `flow/config.yaml`.
    `hift`: config.json of `hift`, where it differs from the published code's."""

    llama: Mapping[str, Any]
    whisper: Mapping[str, Any]
    dit: Mapping[str, Any]
    hift: Mapping[str, Any]


def _sizes(
    llama: Mapping[str, Any], whisper: Mapping[str, Any], dit: Mapping[str, Any], hift: Mapping[str, Any] | None = None
) -> Sizes:
    """With what all sizes share: the vocabulary, the codes, and the forms of the parts."""
    return Sizes(
        llama={
            "model_type": "llama",
            "architectures": ["LlamaForCausalLM"],
            "hidden_act": "silu",
            "vocab_size": 98304,
            "max_position_embeddings": 8192,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "tie_word_embeddings": False,
            **llama,
        },
        whisper={
            "model_type": "whisper",
            "architectures": ["WhisperVQForConditionalGeneration"],
            "num_mel_bins": 128,
            "max_source_positions": 1500,
            "quantize_vocab_size": CODES,
            "pooling_kernel_size": 2,
            "pooling_type": "avg",
            "quantize_causal_block_size": 200,
            "quantize_causal_encoder": False,
            "encoder_causal_convolution": True,
            "encoder_causal_attention": False,
            **whisper,
        },
        dit={"ff_mult": 2, "text_vocab_size": 100000, "spkr_emb_adaLN": True, **dit},
        hift=hift or {},
    )


PUBLISHED = _sizes(
    llama={
        "hidden_size": 2048,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 4,
        "intermediate_size": 6144,
    },
    # The published tokenizer's sizes are not known here: these are Whisper large's width, and half its layers.
    whisper={
        "d_model": 1280,
        "encoder_layers": 32,
        "encoder_attention_heads": 20,
        "encoder_ffn_dim": 5120,
        "quantize_position": 16,
        "pooling_position": 16,
    },
    dit={"dim": 768, "depth": 18, "heads": 12, "dim_head": 64, "text_emb_dim": 512, "conv_layers": 4},
)
"""Those that `verify_checkpoint --published` expects, about 6 GB in bfloat16."""

QUICK = _sizes(
    llama={
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 128,
    },
    whisper={
        "d_model": 64,
        "encoder_layers": 2,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 128,
        "quantize_position": 1,
        "pooling_position": 1,
    },
    dit={"dim": 64, "depth": 2, "heads": 2, "dim_head": 32, "text_emb_dim": 32, "conv_layers": 1},
    hift={"base_channels": 64, "f0_cond_channels": 64},
)
"""All ids of the published checkpoint, the rest narrow: 90 MB, and fast on a CPU."""

WIDE_AUDIO = replace(QUICK, dit=PUBLISHED.dit, hift=PUBLISHED.hift)
"""QUICK with the published flow and vocoder: what a CPU computes in seconds, 1 GB."""

BY_NAME = {"published": PUBLISHED, "quick": QUICK, "wide-audio": WIDE_AUDIO}
