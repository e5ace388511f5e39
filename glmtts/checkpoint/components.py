"""One component of a checkpoint from its files: a module with its weights, or the text front end.

Modules are on the CPU until `for_inference`. All functions raise CheckpointError with the file, and all names in it
that do not fit.
"""

from __future__ import annotations

import gzip
import json
import logging
import zlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn
from transformers import LlamaConfig, WhisperFeatureExtractor

from glmtts.checkpoint.flow_config import read_flow_config
from glmtts.checkpoint.lora import merge_lora
from glmtts.checkpoint.onnx_weights import read_onnx
from glmtts.checkpoint.weights import (
    build_uninitialised,
    drop_keys,
    load_strict,
    read_json,
    read_json_object,
    read_safetensors,
    read_torch,
)
from glmtts.config import GenerationConfig, HiFTConfig, from_mapping
from glmtts.errors import CheckpointError
from glmtts.models.encoders.speaker_encoder import CampPlus
from glmtts.models.encoders.speech_tokenizer import WhisperVQ, WhisperVQConfig, encoder_weights
from glmtts.models.flow.flow import Flow
from glmtts.models.llm.llama import Llama
from glmtts.models.vocoder.hift import HiFT, hift_config_from_reference
from glmtts.models.vocoder.interface import Vocoder
from glmtts.models.vocoder.vocos import load_vocos
from glmtts.text.frontend.frontend import Frontend
from glmtts.text.segment import segment
from glmtts.text.tokenizer import Tokenizer

log = logging.getLogger(__name__)

M = TypeVar("M", bound=nn.Module)
T = TypeVar("T")

LORA = "lora"
"""Folder of an adapter, in the llm's."""

# Weights known to be unused; `encoder_weights` has more of the speech tokenizer's.
UNUSED_LLM = (r".*rotary_emb\.inv_freq$",)
UNUSED_SPEECH_TOKENIZER = (r"proj_out\.",)


def for_inference(module: M, device: torch.device) -> M:
    return module.to(device).eval().requires_grad_(False)


def read_llm_config(folder: Path) -> LlamaConfig:
    """`config.json` of a Hugging Face folder with a Llama."""
    values = read_json_object(folder / "config.json")
    if values.get("model_type", "llama") != "llama":
        raise CheckpointError(f"{folder / 'config.json'}: model_type: expected 'llama', got {values['model_type']!r}")
    try:
        return LlamaConfig.from_dict(values)
    except Exception as error:  # transformers has an error of its own for each kind of wrong value
        raise CheckpointError(f"{folder / 'config.json'}: {' '.join(str(error).split())}") from error


def load_llm(folder: Path, dtype: torch.dtype, device: torch.device | None = None) -> Llama:
    """The AR transformer from a Hugging Face folder, its weights in `dtype` on `device`, by default torch's.

    An adapter in its folder `lora` is merged into them.
    """
    config = read_llm_config(folder)
    state = drop_keys(read_safetensors(folder), UNUSED_LLM)
    if config.tie_word_embeddings and "model.embed_tokens.weight" in state:
        state.setdefault("lm_head.weight", state["model.embed_tokens.weight"])
    llm = _allocate(config, dtype, device or torch.get_default_device())
    load_strict(llm, state, where=str(folder))
    if (folder / LORA).is_dir():
        merge_lora(llm, folder / LORA)
    return llm


def _allocate(config: LlamaConfig, dtype: torch.dtype, device: torch.device) -> Llama:
    """A Llama without values: what is not yet on the device in `dtype` never takes memory."""
    with torch.device("meta"):
        llm = Llama(config)
    llm = llm.to(dtype).to_empty(device=device)
    if config.tie_word_embeddings:
        llm.lm_head.weight = llm.model.embed_tokens.weight
    return llm


def load_flow(folder: Path) -> Flow:
    """The flow, tokens to mel, in float32 on the CPU."""
    config = read_flow_config(folder / "config.yaml")
    flow = build_uninitialised(lambda: Flow(config))
    load_strict(flow, read_torch(folder / "flow.pt"), where=str(folder / "flow.pt"))
    return flow


def load_hift(folder: Path) -> HiFT:
    """The 24 kHz vocoder, weight norm folded, on the CPU; with the published sizes if there is no config.json."""
    file = folder / "config.json"
    config = hift_config_from_reference(read_json_object(file), where=str(file)) if file.exists() else HiFTConfig()
    hift = build_uninitialised(lambda: HiFT(config))
    load_strict(hift, read_torch(folder / "hift.pt"), where=str(folder / "hift.pt"))
    return hift.fold_weight_norm()


def load_vocoders(root: Path, device: torch.device, vocos_sha256: str | None) -> dict[int, Vocoder]:
    """The vocoders of the checkpoint that may be loaded, by rate in Hz."""
    hift = for_inference(load_hift(root / "hift"), device)
    vocoders: dict[int, Vocoder] = {hift.sample_rate: hift}
    file = root / "vocos2d" / "generator_jit.ckpt"
    if vocos_sha256:
        vocos = load_vocos(file, sha256=vocos_sha256, device=device)
        vocoders[vocos.sample_rate] = vocos
    elif file.exists():
        log.warning("%s is code, and no sha256 was given for it: not loaded, so there is no 32 kHz output", file)
    return vocoders


def load_speech_tokenizer(folder: Path) -> WhisperVQ:
    """Speech to speech tokens, in float32 on the CPU; without the decoder and what follows the quantiser."""
    config = WhisperVQConfig.from_hf(read_json_object(folder / "config.json"))
    values = read_json_object(folder / "preprocessor_config.json")
    try:
        extractor = WhisperFeatureExtractor(**values)  # type: ignore[no-untyped-call]
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{folder / 'preprocessor_config.json'}: {error}") from error
    tokenizer = build_uninitialised(lambda: WhisperVQ(config, extractor))
    state = encoder_weights(drop_keys(read_safetensors(folder), UNUSED_SPEECH_TOKENIZER), config)
    load_strict(tokenizer, state, where=str(folder))
    return tokenizer


def load_speaker_encoder(folder: Path) -> CampPlus:
    """Speech to speaker vector, from campplus.pt or else campplus.onnx, in float32 on the CPU."""
    files = [folder / name for name in ("campplus.pt", "campplus.onnx")]
    existing = next((file for file in files if file.exists()), None)
    if existing is None:
        raise CheckpointError(f"{folder}: expected campplus.pt or campplus.onnx, got neither")
    return read_speaker_encoder(existing)


def read_speaker_encoder(file: Path) -> CampPlus:
    """CAM++ from one weight file, in eval mode; `.onnx` is read as ONNX, anything else as a torch file."""
    encoder = build_uninitialised(CampPlus).eval()
    state = read_onnx(file, encoder) if file.suffix == ".onnx" else read_torch(file)
    load_strict(encoder, state, where=str(file))
    return encoder


def load_frontend(
    folder: Path, tokenizer: Tokenizer, replace: Mapping[str, str], generation: GenerationConfig
) -> Frontend:
    """The text front end with the checkpoint's own data: characters not to convert to phonemes, an English lexicon."""
    able, lexicon = folder / "able.json", folder / "lexicon_en.json.gz"
    cut = partial(
        segment,
        minimum=generation.min_segment_weight,
        maximum=generation.max_segment_weight,
        by_sentence=generation.segment_by == "sentence",
    )
    return Frontend(
        tokenizer,
        replace,
        frozenset(read_json(able)) if able.exists() else None,
        _read_lexicon(lexicon) if lexicon.exists() else None,
        generation.phoneme,
        cut=cut,
    )


def _read_lexicon(file: Path) -> dict[str, str]:
    try:
        words = json.loads(gzip.decompress(file.read_bytes()))
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise CheckpointError(f"{file}: not readable as gzipped JSON: {error}") from error
    if not isinstance(words, dict):
        raise CheckpointError(f"{file}: expected words mapped to phoneme tokens, got {type(words).__name__}")
    return words


def read_config(file: Path, cls: type[T]) -> T:
    """The config in `file`, or the defaults if there is no such file."""
    return from_mapping(cls, read_json_object(file) if file.exists() else {}, where=str(file))
