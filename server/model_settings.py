"""Settings of the model, and of how much it does at once."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from glmtts.config import LlmFormat, NumberFormat
from server.setting import setting

REPLACEMENTS = Path(__file__).resolve().parents[1] / "G2P_replace_dict.jsonl"


class ModelSettings(BaseModel):
    llm_dtype: LlmFormat = setting(
        "auto",
        "number format",
        "Of the AR model; auto is bfloat16 on a GPU, and on a CPU if the files are and it is faster; int8 takes half.",
    )
    flow_dtype: NumberFormat = setting("auto", "number format", "Of the flow; auto is what the device is faster in.")
    vocoder_dtype: NumberFormat = setting("auto", "number format", "Of the 24 kHz vocoder; auto is float32.")
    graph_seconds: float = setting(
        30.0,
        "s",
        "How long to record CUDA graphs before the node is ready, on a GPU; 0 launches every kernel alone.",
        ge=0,
    )
    graph_memory: float = setting(
        0.15, "fraction", "Share for CUDA graphs of the memory that the engine may take.", ge=0, lt=1
    )
    max_num_seqs: int = setting(
        16, "requests", "Requests decoded at once; fewer, if the device's memory does not suffice for them.", ge=1
    )
    max_memory_bytes: int | None = setting(
        None, "bytes", "Memory of the device that the model may take; what is free if empty.", ge=1
    )
    g2p_replace: Path | None = setting(
        REPLACEMENTS if REPLACEMENTS.exists() else None,
        "path",
        "Pronunciation overrides: JSON lines of text to phoneme tokens; none where the default file is not installed.",
    )
    vocos_sha256: str | None = setting(
        None,
        "sha256",
        "Hash of the checkpoint's 32 kHz vocoder, which is executable code; it is not loaded without the hash.",
        pattern="^[0-9a-fA-F]{64}$",
    )
