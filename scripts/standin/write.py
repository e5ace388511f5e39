"""Writes a stand-in: what loads and serves it can be tried at the published size without the published files.

Its speech is noise, and ends only at a segment's maximum: a random model hardly ever draws the end.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import LlamaConfig, WhisperFeatureExtractor

from glmtts.checkpoint.flow_config import read_flow_config
from glmtts.config import HiFTConfig
from glmtts.models.encoders.speaker_encoder import CampPlus
from glmtts.models.encoders.speech_tokenizer import WhisperVQ, WhisperVQConfig
from glmtts.models.flow.flow import Flow
from glmtts.models.llm.llama import Llama
from glmtts.models.vocoder.hift import HiFT
from glmtts.text.tokenizer import byte_ranks, write
from scripts.standin.sizes import CODES, Sizes

SHARDS = 2
STD = 0.02
"""Standard deviation of the llm's weights."""

RANKS = 59246
"""Ids below the special ones."""

CONTROLS = (
    "<|endoftext|>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>", "<|system|>", "<|user|>", "<|assistant|>",
    "<|observation|>", "<|begin_of_image|>", "<|end_of_image|>", "<|begin_of_video|>", "<|end_of_video|>",
    "<|begin_of_audio|>", "<|end_of_audio|>",
)  # fmt: skip
FIRST_AUDIO = 61498 - RANKS
"""Special tokens before `<|audio_0|>`."""


@dataclass(frozen=True)
class Written:
    """What was written: numbers in tensors, and bytes of all files."""

    parameters: int
    size_bytes: int


def write_standin(
    folder: Path, sizes: Sizes, *, device: str = "cpu", dtype: torch.dtype = torch.bfloat16, seed: int = 0
) -> Written:
    """Writes the tree into `folder`, which is created.

    device: where the random numbers are drawn, which decides what equal seeds write. dtype: the llm's; the published
    one's is not known here. Other parts are float32.
    """
    with torch.random.fork_rng(devices=[device] if device != "cpu" else []):
        torch.manual_seed(seed)
        _write_text_tokenizer(folder / "vq32k-phoneme-tokenizer")
        parameters = _write_llm(folder / "llm", sizes.llama, torch.device(device), dtype)
        with torch.device(device):
            parameters += _write_flow(folder / "flow", sizes.dit)
            parameters += _write_speech_tokenizer(folder / "speech_tokenizer", sizes.whisper)
            parameters += _write_hift(folder / "hift", sizes.hift)
            parameters += _write_torch(folder / "frontend" / "campplus.pt", CampPlus())
    return Written(parameters, sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()))


def _write_text_tokenizer(folder: Path) -> None:
    """All special ids where the published ones are; the ranks are bytes and pairs of bytes."""
    ranks = byte_ranks()
    pairs = (bytes([first, second]) for first in range(256) for second in range(256))
    for rank in range(len(ranks), RANKS):
        ranks[next(pairs)] = rank
    reserved = [f"<|reserved_{number}|>" for number in range(FIRST_AUDIO - len(CONTROLS))]
    write(folder, ranks, [*CONTROLS, *reserved, *(f"<|audio_{code}|>" for code in range(CODES))])


def _write_llm(folder: Path, config: Mapping[str, Any], device: torch.device, dtype: torch.dtype) -> int:
    """One shard at a time, so that no more is in memory."""
    _write_json(folder / "config.json", config)
    with torch.device("meta"):
        state = Llama(LlamaConfig.from_dict(dict(config))).state_dict()
    parameters = sum(value.numel() for value in state.values())
    weight_map: dict[str, str] = {}
    for number, names in enumerate(_shards(state), start=1):
        file = f"model-{number:05}-of-{SHARDS:05}.safetensors"
        save_file({name: _random(name, state[name], device, dtype) for name in names}, folder / file)
        weight_map.update(dict.fromkeys(names, file))
    metadata = {"total_size": parameters * dtype.itemsize}
    _write_json(folder / "model.safetensors.index.json", {"metadata": metadata, "weight_map": weight_map})
    return parameters


def _shards(state: Mapping[str, Tensor]) -> Iterator[list[str]]:
    """The names in order, in SHARDS lists of about as many numbers."""
    share = sum(value.numel() for value in state.values()) / SHARDS
    shards: list[list[str]] = [[] for _ in range(SHARDS)]
    numbers = 0
    for name, value in state.items():
        shards[min(SHARDS - 1, int(numbers / share))].append(name)
        numbers += value.numel()
    yield from shards


def _random(name: str, like: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    value = torch.empty(like.shape, dtype=dtype, device=device)
    return (value.fill_(1) if "norm" in name else value.normal_(std=STD)).cpu()


def _write_flow(folder: Path, dit: Mapping[str, Any]) -> int:
    folder.mkdir(parents=True)
    arguments = "".join(f"    {name}: {json.dumps(value)}\n" for name, value in dit.items())
    text = (
        "flow: !new:flow.flow.MaskedDiffWithXvec\n"
        "  spk_embed_dim: 192\n  n_timesteps: 10\n  inference_cfg_rate: 0.7\n  t_scheduler: cosine\n"
        "  speech_token_cfg: false\n  remove_spkr_concat_condition: true\n"
        "  input_frame_rate: 25\n  mel_framerate: 50\n"
        f"  estimator: !new:flow.dit.DiT\n{arguments}"
    )
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    return _write_torch(folder / "flow.pt", Flow(read_flow_config(folder / "config.yaml")), key="model")


def _write_speech_tokenizer(folder: Path, config: Mapping[str, Any]) -> int:
    """The encoder, and of what a loader leaves out, the codebook's moving averages and the norm behind it."""
    _write_json(folder / "config.json", config)
    extractor = WhisperFeatureExtractor(feature_size=config["num_mel_bins"])
    extractor.save_pretrained(folder)
    encoder = WhisperVQ(WhisperVQConfig.from_hf(config), extractor)
    codebook = encoder.codebook.weight
    unused = {
        "ema_count": codebook.new_ones(len(codebook)),
        "ema_weight": codebook.detach(),
        "layer_norm.weight": codebook.new_ones(codebook.shape[1]),
        "layer_norm.bias": codebook.new_zeros(codebook.shape[1]),
    }
    state = {**encoder.state_dict(), **unused}
    save_file(
        {f"model.encoder.{name}": value.cpu().clone() for name, value in state.items()}, folder / "model.safetensors"
    )
    return sum(value.numel() for value in state.values())


def _write_hift(folder: Path, config: Mapping[str, Any]) -> int:
    """With a config.json only if it is not the published vocoder, which has none."""
    if config:
        _write_json(folder / "config.json", config)
    return _write_torch(folder / "hift.pt", HiFT(HiFTConfig(**config)))


def _write_torch(file: Path, module: nn.Module, key: str | None = None) -> int:
    """A state dict as torch saves it, bare or under `key`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    state = {name: value.cpu() for name, value in module.state_dict().items()}
    torch.save({key: state} if key else state, file)
    return sum(value.numel() for value in state.values())


def _write_json(file: Path, value: Mapping[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
