"""Writes a checkpoint in the official layout with tiny random weights: it generates noise, through every stage.

It also has the unused parts of the published files (a decoder, moving averages, layers after the quantiser), so that
tests notice a loader that fails on them or accepts anything.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import LlamaConfig, WhisperFeatureExtractor

from glmtts.config import DiTConfig, FlowConfig, HiFTConfig
from glmtts.models.encoders.speaker_encoder import CampPlus
from glmtts.models.encoders.speech_tokenizer import WhisperVQ, WhisperVQConfig
from glmtts.models.flow.flow import Flow
from glmtts.models.llm.llama import Llama
from glmtts.models.vocoder.hift import HiFT
from glmtts.text.tokenizer import byte_ranks, write

CODES = 40
PHONEMES = ["<|N|>", "<|I3|>", "<|H|>", "<|AO3|>", "<|X|>", "<|IAN2|>", "<|ZH|>", "<|III1|>"]
CONTROLS = ["<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|begin_of_audio|>", "<|end_of_audio|>"]

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5,
    "initializer_range": 0.2,
}
DIT = DiTConfig(
    trans_dim=32,
    depth=2,
    heads=2,
    dim_head=16,
    ff_mult=2,
    text_emb_dim=16,
    conv_layers=1,
    text_vocab_size=CODES,
)
HIFT = HiFTConfig(base_channels=16, f0_cond_channels=16)
WHISPER: dict[str, Any] = {
    "model_type": "whisper",
    "architectures": ["WhisperVQForConditionalGeneration"],
    "d_model": 32,
    "encoder_layers": 6,
    "decoder_layers": 6,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "num_mel_bins": 16,
    "max_source_positions": 1500,
    "quantize_vocab_size": CODES,
    "quantize_position": 2,
    "pooling_position": 1,
    "pooling_kernel_size": 2,
    "pooling_type": "avg",
}
GENERATION: dict[str, Any] = {"min_ratio": 1.0, "max_ratio": 2.0}


def write_tiny_checkpoint(
    folder: Path,
    *,
    seed: int = 0,
    sharded: bool = False,
    tied: bool = False,
    hift_config: bool = True,
    onnx: bool = False,
    bare_flow: bool = False,
    own_flow_config: bool = False,
    generation: dict[str, Any] | None = None,
    dit: DiTConfig = DIT,
) -> Path:
    """Writes the tree under `folder` and returns it; equal arguments write equal weights.

    sharded: the llm's weights in two files with an index. tied: the llm's head is its embedding, and not in the file.
    hift_config: False leaves config.json out, so the weights have the published sizes (90 MB). onnx: campplus.onnx
    instead of campplus.pt. bare_flow: flow.pt is the state dict itself, bare. own_flow_config: our spelling
    of flow/config.yaml, not HyperPyYAML. generation: contents of llm/generation.json, by default short utterances.
    dit: the estimator's sizes.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        write(folder / "vq32k-phoneme-tokenizer", byte_ranks(), [*CONTROLS, *PHONEMES, *_audio_tokens()])
        _write_llm(folder / "llm", sharded=sharded, tied=tied)
        _json(folder / "llm" / "generation.json", GENERATION if generation is None else generation)
        _write_flow(folder / "flow", bare=bare_flow, own_config=own_flow_config, dit_config=dit)
        _write_hift(folder / "hift", own_config=hift_config)
        _write_speech_tokenizer(folder / "speech_tokenizer")
        _write_frontend(folder / "frontend", onnx=onnx)
    return folder


def _audio_tokens() -> list[str]:
    return [f"<|audio_{code}|>" for code in range(CODES)]


def _json(file: Path, value: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value, indent=1), encoding="utf-8")


def _write_llm(folder: Path, *, sharded: bool, tied: bool) -> None:
    vocabulary = 256 + len(CONTROLS) + len(PHONEMES) + CODES
    values = {**LLAMA, "vocab_size": vocabulary + 3, "tie_word_embeddings": tied}
    _json(folder / "config.json", values)
    llm = Llama(LlamaConfig.from_dict(values))
    llm.init_weights()
    state = {name: value.clone() for name, value in llm.state_dict().items() if not (tied and name == "lm_head.weight")}
    if not sharded:
        save_file(state, folder / "model.safetensors")
        return
    names = sorted(state)
    shards = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for shard, held in shards.items():
        save_file({name: state[name] for name in held}, folder / shard)
    weight_map = {name: shard for shard, held in shards.items() for name in held}
    _json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": weight_map})


def _write_flow(folder: Path, *, bare: bool, own_config: bool, dit_config: DiTConfig) -> None:
    folder.mkdir(parents=True)
    dit = asdict(dit_config)
    if own_config:
        text = yaml.safe_dump({"dit": dit, "n_timesteps": 3})
    else:
        arguments = "".join(f"    {name}: {json.dumps(value)}\n" for name, value in dit.items() if name != "trans_dim")
        text = (
            "width: 32\nflow: !new:flow.flow.Flow\n  n_timesteps: 3\n  loss_type: l2\n"
            f"  estimator: !new:flow.dit.DiT\n    trans_dim: !ref <width>\n{arguments}"
        )
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    state = Flow(FlowConfig(dit=dit_config, n_timesteps=3)).state_dict()
    torch.save(state if bare else {"model": state}, folder / "flow.pt")


def _write_hift(folder: Path, *, own_config: bool) -> None:
    folder.mkdir(parents=True)
    config = HIFT if own_config else HiFTConfig()
    if own_config:
        _json(
            folder / "config.json", {"base_channels": config.base_channels, "f0_cond_channels": config.f0_cond_channels}
        )
    torch.save(HiFT(config).state_dict(), folder / "hift.pt")


def _write_speech_tokenizer(folder: Path) -> None:
    _json(folder / "config.json", WHISPER)
    extractor = WhisperFeatureExtractor(feature_size=WHISPER["num_mel_bins"])
    extractor.save_pretrained(folder)
    encoder = WhisperVQ(WhisperVQConfig.from_hf(WHISPER), extractor)
    state = {f"model.encoder.{name}": value for name, value in encoder.state_dict().items()}
    d = WHISPER["d_model"]
    unused = {
        "model.encoder.layer_norm.weight": torch.ones(d),
        "model.encoder.ema_count": torch.ones(CODES),
        "model.encoder.ema_weight": torch.ones(CODES, d),
        "model.encoder.layers.5.fc1.bias": torch.zeros(64),
        "model.decoder.embed_tokens.weight": torch.zeros(8, d),
    }
    save_file({**state, **unused}, folder / "model.safetensors")


def _write_frontend(folder: Path, *, onnx: bool) -> None:
    folder.mkdir(parents=True)
    _json(folder / "able.json", ["我", "的"])
    lexicon = {"hello": "<|H|><|AO3|>"}
    (folder / "lexicon_en.json.gz").write_bytes(gzip.compress(json.dumps(lexicon).encode(), mtime=0))
    encoder = CampPlus().eval()
    if onnx:
        _write_onnx(folder / "campplus.onnx", encoder)
    else:
        torch.save(encoder.state_dict(), folder / "campplus.pt")


def _write_onnx(file: Path, module: nn.Module) -> None:
    """The convolutions and norms of `module` in order, numbered as an exporter names them. It can't be run."""
    import onnx

    nodes, initialisers = [], []
    for layer in module.modules():
        tensors = _constants(layer)
        if not tensors:
            continue
        names = [f"onnx::{len(initialisers) + i}" for i in range(len(tensors))]
        initialisers += [onnx.numpy_helper.from_array(t.numpy(), n) for t, n in zip(tensors, names, strict=True)]
        kind = "BatchNormalization" if len(tensors) == 4 else "Conv"
        nodes.append(onnx.helper.make_node(kind, ["x", *names], ["x"]))
    signal = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, None)
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph(nodes, "campplus", [signal], [signal], initialisers)), file)


def _constants(layer: nn.Module) -> list[Tensor]:
    if isinstance(layer, nn.Conv1d | nn.Conv2d):
        return [layer.weight.detach()] + ([] if layer.bias is None else [layer.bias.detach()])
    if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
        mean, variance = layer.running_mean, layer.running_var
        assert mean is not None
        assert variance is not None
        scale = torch.ones_like(mean) if layer.weight is None else layer.weight.detach()
        shift = torch.zeros_like(mean) if layer.bias is None else layer.bias.detach()
        return [scale, shift, mean, variance]
    return []
