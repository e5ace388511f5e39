"""The parts of a checkpoint, each built alone, so that one that fails does not hide the problems of the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from glmtts.checkpoint import components
from glmtts.checkpoint.consistency import check_alignment_heads, check_sizes, special_ids
from glmtts.checkpoint.model_info import read_info
from glmtts.checkpoint.speakers import read_speakers
from glmtts.checkpoint.weights import State, read_safetensors, read_torch
from glmtts.config import GenerationConfig
from glmtts.errors import CheckpointError
from glmtts.models.flow.flow import Flow
from glmtts.models.llm.llama import Llama
from glmtts.models.llm.prompt import SpecialIds
from glmtts.text.tokenizer import Tokenizer

TOKENIZER = "vq32k-phoneme-tokenizer"
LLM_KEYS = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "intermediate_size",
    "vocab_size",
    "max_position_embeddings",
)
FLOW_KEYS = ("n_timesteps", "speech_token_cfg", "remove_spkr_concat_condition")
DIT_KEYS = (
    "trans_dim", "depth", "heads", "dim_head", "text_emb_dim", "conv_layers", "text_vocab_size", "spkr_emb_adaLN",
)  # fmt: skip
SPEECH_TOKENIZER_KEYS = ("d_model", "quantize_position", "pooling", "quantize_vocab_size", "causal")
SPECIAL_KEYS = ("ats", "ate", "boa", "eoa", "pad")


@dataclass
class PartCheck:
    """A part, by its folder if it has one: what was checked, a summary, config values, and the loader's error."""

    name: str
    what: str
    summary: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    problem: str = ""


@dataclass
class _Parts:
    """The parts that could be built, for the checks of one with another."""

    root: Path
    tokenizer: Tokenizer | None = None
    generation: GenerationConfig = field(default_factory=GenerationConfig)
    codes: int | None = None
    llm: Llama | None = None
    flow: Flow | None = None
    special: SpecialIds | None = None


Step = Callable[[_Parts, PartCheck], None]
"""Fills in a PartCheck, and the part if others need it. Raises CheckpointError as the loader does."""


def check_parts(root: Path) -> list[PartCheck]:
    """Every part of the checkpoint in `root`; to be called under `torch.device("meta")`."""
    steps: dict[str, tuple[str, Step]] = {
        "model.json": ("values", _info),
        "generation.json": ("values", _generation),
        TOKENIZER: ("vocabulary, front end", _tokenizer),
        "speech_tokenizer": ("tensors", _speech_tokenizer),
        "special ids": ("in the vocabulary", _special_ids),
        "llm": ("tensors", _llm),
        "flow": ("tensors", _flow),
        "hift": ("tensors", _hift),
        "frontend": ("CAM++ tensors", _frontend),
        "sizes": ("of the parts together", _sizes),
    }
    parts, checks = _Parts(root), []
    for name, (what, step) in steps.items():
        check = PartCheck(name, what)
        try:
            step(parts, check)
        except CheckpointError as error:
            check.summary, check.problem = "does not load", str(error)
        checks.append(check)
    return checks


def read_tensors(root: Path) -> dict[str, State]:
    """The tensors of all weight files but `campplus.onnx`, by part, those that are not used too; to be called under
    `torch.device("meta")`. A part whose files can't be read is left out."""
    readers: dict[str, Callable[[], State]] = {
        "llm": lambda: read_safetensors(root / "llm"),
        "flow": lambda: read_torch(root / "flow" / "flow.pt"),
        "hift": lambda: read_torch(root / "hift" / "hift.pt"),
        "speech_tokenizer": lambda: read_safetensors(root / "speech_tokenizer"),
        "frontend": lambda: read_torch(root / "frontend" / "campplus.pt"),
    }
    states = {}
    for part, read in readers.items():
        with suppress(CheckpointError):
            states[part] = read()
    return states


def dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _info(parts: _Parts, check: PartCheck) -> None:
    info = read_info(parts.root)
    check.summary = f"{info.name} {info.version}, {', '.join(info.languages)}"


def _generation(parts: _Parts, check: PartCheck) -> None:
    file = parts.root / "llm" / "generation.json"
    parts.generation = components.read_config(file, GenerationConfig)
    check.summary = "known keys only" if file.exists() else "no such file: the published constants apply"


def _tokenizer(parts: _Parts, check: PartCheck) -> None:
    parts.tokenizer = Tokenizer.from_dir(parts.root / TOKENIZER)
    components.load_frontend(parts.root / "frontend", parts.tokenizer, {}, parts.generation)
    check.summary = f"{parts.tokenizer.size} ids, {len(parts.tokenizer.phonemes)} phonemes"


def _speech_tokenizer(parts: _Parts, check: PartCheck) -> None:
    module = components.load_speech_tokenizer(parts.root / "speech_tokenizer")
    parts.codes = module.config.quantize_vocab_size
    check.summary = _summary(module, read_safetensors(parts.root / "speech_tokenizer"))
    check.values = _values(module.config, SPEECH_TOKENIZER_KEYS)


def _special_ids(parts: _Parts, check: PartCheck) -> None:
    if parts.tokenizer is None or parts.codes is None:
        check.summary = "not checked: needs the text tokenizer and speech_tokenizer"
        return
    parts.special = special_ids(parts.tokenizer, parts.codes)
    check.summary = f"{parts.codes} speech tokens in a row"
    check.values = _values(parts.special, SPECIAL_KEYS)


def _llm(parts: _Parts, check: PartCheck) -> None:
    parts.llm = components.load_llm(parts.root / "llm", torch.float32)
    read_speakers(parts.root / "llm", parts.llm.config.vocab_size)
    check.summary = _summary(parts.llm, read_safetensors(parts.root / "llm"))
    check.values = _values(parts.llm.config, LLM_KEYS)


def _flow(parts: _Parts, check: PartCheck) -> None:
    parts.flow = components.load_flow(parts.root / "flow")
    check.summary = _summary(parts.flow, read_torch(parts.root / "flow" / "flow.pt"))
    check.values = {**_values(parts.flow.config, FLOW_KEYS), **_values(parts.flow.config.dit, DIT_KEYS)}


def _hift(parts: _Parts, check: PartCheck) -> None:
    hift = components.load_hift(parts.root / "hift")
    check.summary = _summary(hift, read_torch(parts.root / "hift" / "hift.pt"))
    check.values = _values(hift, ("sample_rate",))


def _frontend(parts: _Parts, check: PartCheck) -> None:
    encoder = components.load_speaker_encoder(parts.root / "frontend")
    check.summary = _summary(encoder, encoder.state_dict())


def _sizes(parts: _Parts, check: PartCheck) -> None:
    if parts.tokenizer is None or parts.llm is None or parts.flow is None or parts.special is None:
        check.summary = "not checked: needs the text tokenizer, special ids, llm and flow"
        return
    check_sizes(parts.root, parts.tokenizer, parts.llm, parts.flow, parts.special)
    check_alignment_heads(parts.root, parts.generation, parts.llm)
    check.summary = "fit"


def _values(config: object, keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: getattr(config, key) for key in keys}


def _summary(module: nn.Module, state: State) -> str:
    """The tensors of the file by dtype, and the numbers that the module takes from them."""
    kinds = Counter(dtype_name(value.dtype) for value in state.values())
    numbers = sum(value.numel() for value in module.state_dict().values())
    return f"{' + '.join(f'{n} {kind}' for kind, n in kinds.most_common())}; {numbers:,} numbers used"
