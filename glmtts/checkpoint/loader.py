"""A checkpoint's files to a Model: the published tree and the nano one alike.

    llm/config.json, model*.safetensors [, generation.json]     the AR transformer and its sampling parameters
    flow/config.yaml, flow.pt                                   tokens to mel
    hift/hift.pt [, config.json]                                24 kHz vocoder
    [vocos2d/generator_jit.ckpt]                                32 kHz vocoder; it is code: only with its sha256
    speech_tokenizer/config.json, preprocessor_config.json, model*.safetensors
    vq32k-phoneme-tokenizer/tokenizer.model, tokenizer_config.json
    frontend/campplus.onnx or campplus.pt [, able.json, lexicon_en.json.gz]
    [model.json]                                                {"name", "version", "languages"}

Files in brackets are optional. Loading is strict: the names in a weight file are exactly those of its module, except
for weights known to be unused. Nothing is downloaded, and no class that a config names is constructed.
"""

from __future__ import annotations

import gzip
import json
import logging
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn
from transformers import LlamaConfig, WhisperFeatureExtractor

from glmtts.checkpoint.flow_config import read_flow_config
from glmtts.checkpoint.model_info import ModelInfo, read_info
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
from glmtts.config import MEL_BY_RATE, GenerationConfig, HiFTConfig, from_mapping
from glmtts.errors import CheckpointError
from glmtts.models.encoders.speaker_encoder import CampPlus
from glmtts.models.encoders.speech_tokenizer import WhisperVQ, WhisperVQConfig, encoder_weights
from glmtts.models.flow.flow import Flow
from glmtts.models.llm.history import MAX_POSITIONS
from glmtts.models.llm.llama import Llama
from glmtts.models.llm.prompt import SpecialIds
from glmtts.models.llm.prompt_score import PromptScore, score_prompt
from glmtts.models.vocoder.hift import HiFT, hift_config_from_reference
from glmtts.models.vocoder.interface import Vocoder
from glmtts.models.vocoder.vocos import load_vocos
from glmtts.text.frontend.frontend import Frontend
from glmtts.text.segment import segment
from glmtts.text.tokenizer import Tokenizer
from glmtts.voice.prompt_check import PromptCheck
from glmtts.voice.voice import VoiceMaker

log = logging.getLogger(__name__)

M = TypeVar("M", bound=nn.Module)
T = TypeVar("T")

TOKENIZER = "vq32k-phoneme-tokenizer"

# Weights known to be unused; `encoder_weights` has more of the speech tokenizer's.
UNUSED_LLM = (r".*rotary_emb\.inv_freq$",)
UNUSED_SPEECH_TOKENIZER = (r"proj_out\.",)


@dataclass(frozen=True, eq=False)
class Model:
    """A loaded checkpoint: modules on `device` in eval mode, without gradients, and their parameters.

    `dtype` is the AR transformer's; the other modules are float32. `vocoders` by output rate in Hz.
    """

    info: ModelInfo
    llm: Llama
    special: SpecialIds
    generation: GenerationConfig
    flow: Flow
    vocoders: Mapping[int, Vocoder]
    speech_tokenizer: WhisperVQ
    speaker_encoder: CampPlus
    frontend: Frontend
    device: torch.device
    dtype: torch.dtype

    @property
    def sample_rates(self) -> tuple[int, ...]:
        """The output rates in Hz without resampling, the default first."""
        return tuple(sorted(self.vocoders))

    @property
    def max_positions(self) -> int:
        """KV cache positions that a segment may take, its prompts included."""
        return min(MAX_POSITIONS, int(self.llm.config.max_position_embeddings))

    @property
    def voice_maker(self) -> VoiceMaker:
        """Makes voices with this checkpoint's modules."""
        mels = {rate: MEL_BY_RATE[rate] for rate in self.sample_rates}
        check = PromptCheck(self.generation, self._score_prompt, self.frontend.prompt_ids)
        return VoiceMaker(self.speaker_encoder, self.speech_tokenizer, mels, check)

    def _score_prompt(self, text: tuple[int, ...], speech: Sequence[int]) -> PromptScore:
        return score_prompt(self.llm, self.special, text, speech)


def pick_device(name: str) -> torch.device:
    """`auto` is CUDA if available, else the CPU. CheckpointError for a device that this machine does not have."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA raises AssertionError
        raise CheckpointError(f"device {name!r}: {str(error).splitlines()[0]}") from error
    return device


def load(
    path: str | Path,
    *,
    device: str | torch.device = "auto",
    dtype: torch.dtype | None = None,
    replace: Mapping[str, str] | None = None,
    vocos_sha256: str | None = None,
) -> Model:
    """Loads the checkpoint in the folder `path`.

    Args:
        device: `auto`, `cpu`, `cuda`, `cuda:1` …
        dtype: of the AR transformer; by default bfloat16 on CUDA and float32 elsewhere.
        replace: pronunciations that come before the front end's own: text to `<|…|>` tokens.
        vocos_sha256: expected hash of `vocos2d/generator_jit.ckpt`; without it, that file is not loaded.

    Raises CheckpointError with the file, and all names in it that do not fit.
    """
    root = Path(path)
    if not root.is_dir():
        raise CheckpointError(f"{root}: expected a checkpoint folder with llm/, flow/, hift/ …, got no such folder")
    target = pick_device(str(device))
    dtype = dtype or (torch.bfloat16 if target.type == "cuda" else torch.float32)
    tokenizer = Tokenizer.from_dir(root / TOKENIZER)
    generation = _optional(root / "llm" / "generation.json", GenerationConfig)
    speech_tokenizer = _for_inference(load_speech_tokenizer(root / "speech_tokenizer"), target)
    special = special_ids(tokenizer, speech_tokenizer.config.quantize_vocab_size)
    llm = _for_inference(load_llm(root / "llm", dtype), target)
    llm.fuse()
    flow = _for_inference(load_flow(root / "flow"), target)
    _check_sizes(root, tokenizer, llm, flow, special)
    return Model(
        info=read_info(root),
        llm=llm,
        special=special,
        generation=generation,
        flow=flow,
        vocoders=load_vocoders(root, target, vocos_sha256),
        speech_tokenizer=speech_tokenizer,
        speaker_encoder=_for_inference(load_speaker_encoder(root / "frontend"), target),
        frontend=load_frontend(root / "frontend", tokenizer, replace or {}, generation),
        device=target,
        dtype=dtype,
    )


def special_ids(tokenizer: Tokenizer, codes: int) -> SpecialIds:
    """The special ids by name, for a speech tokenizer of `codes` codes. CheckpointError if one is missing or below the
    padding's, or if the speech tokens' ids are not consecutive."""
    names = {
        "ats": "<|audio_0|>",
        "ate": f"<|audio_{codes - 1}|>",
        "boa": "<|begin_of_audio|>",
        "eoa": "<|user|>",
        "pad": "<|endoftext|>",
    }
    special = SpecialIds(**{field: tokenizer.special_id(name) for field, name in names.items()})
    low = [name for field, name in names.items() if getattr(special, field) < special.pad]
    if low:
        raise CheckpointError(f"special ids: expected none below that of <|endoftext|> ({special.pad}), got {low}")
    if special.speech_tokens != codes:
        raise CheckpointError(
            f"<|audio_0|> … <|audio_{codes - 1}|>: expected {codes} ids in a row, got {special.ats} … {special.ate}"
        )
    return special


def _check_sizes(root: Path, tokenizer: Tokenizer, llm: Llama, flow: Flow, special: SpecialIds) -> None:
    rows = llm.config.vocab_size
    if tokenizer.size > rows:
        raise CheckpointError(f"{root}: expected tokenizer ids below the llm's {rows} rows, got {tokenizer.size - 1}")
    known = flow.config.dit.text_vocab_size + 1  # the null token is one of them
    if special.speech_tokens > known:
        raise CheckpointError(f"{root}: expected a flow for {special.speech_tokens} speech tokens, got {known}")


def _for_inference(module: M, device: torch.device) -> M:
    return module.to(device).eval().requires_grad_(False)


def load_llm(folder: Path, dtype: torch.dtype) -> Llama:
    """The AR transformer from a Hugging Face folder, on the CPU, its weights in `dtype`."""
    values = read_json_object(folder / "config.json")
    if values.get("model_type", "llama") != "llama":
        raise CheckpointError(f"{folder / 'config.json'}: model_type: expected 'llama', got {values['model_type']!r}")
    config = LlamaConfig.from_dict(values)
    state = drop_keys(read_safetensors(folder), UNUSED_LLM)
    if config.tie_word_embeddings and "model.embed_tokens.weight" in state:
        state.setdefault("lm_head.weight", state["model.embed_tokens.weight"])
    llm = build_uninitialised(lambda: Llama(config)).to(dtype)
    load_strict(llm, state, where=str(folder))
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
    hift = _for_inference(load_hift(root / "hift"), device)
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
    extractor = WhisperFeatureExtractor(**values)  # type: ignore[no-untyped-call]
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


def _optional(file: Path, cls: type[T]) -> T:
    """The config in `file`, or the defaults if there is no such file."""
    return from_mapping(cls, read_json_object(file) if file.exists() else {}, where=str(file))
