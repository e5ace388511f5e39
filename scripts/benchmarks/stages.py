#!/usr/bin/env python3
"""Measures each stage of the model against the machine's roofline.

    scripts/benchmarks/stages.py                      checkpoints/nano: AR steps, flow chunks, vocoder windows
    scripts/benchmarks/stages.py --official           an AR model of the published size, random weights, bfloat16 (4 GB)
    scripts/benchmarks/stages.py --formats            float32, bfloat16, int8 and torch.compile side by side
    scripts/benchmarks/stages.py --checkpoint DIR --quick     few repetitions, to see that it works
    scripts/benchmarks/stages.py --device cuda                on a GPU, also with --official

The limits are measured in the same run: FLOP/s of matrix products, bytes read per second, and the time to launch a
step's operations when they have next to nothing to compute (the same model with a few channels). The bound of a stage
is the longer of its arithmetic and its reading, plus its launches.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlamaConfig

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # so that this file can be run directly

from glmtts.checkpoint.components import load_llm  # noqa: E402  # needs the path above
from glmtts.checkpoint.loader import Model, load  # noqa: E402
from glmtts.checkpoint.precision import cast_stages  # noqa: E402
from glmtts.config import GenerationConfig, StageFormats  # noqa: E402
from glmtts.engine.config import ChunkSchedule  # noqa: E402
from glmtts.models.flow.flow import Flow  # noqa: E402
from glmtts.models.flow.flow_batch import FlowBatcher, FlowSequence  # noqa: E402
from glmtts.models.flow.flow_cache import NO_CONTEXT, LeftContext  # noqa: E402
from glmtts.models.llm.decoder import Decoder, DecodeRequest  # noqa: E402
from glmtts.models.llm.kv_cache import KVCache  # noqa: E402
from glmtts.models.llm.llama import Llama  # noqa: E402
from glmtts.models.llm.prompt import LengthBounds, SpecialIds  # noqa: E402
from glmtts.models.vocoder.hift import HiFT  # noqa: E402
from scripts.benchmarks.roofline import Roofline, Stage, count_flops, median_seconds, table  # noqa: E402
from scripts.standin.sizes import PUBLISHED  # noqa: E402

OFFICIAL: dict[str, Any] = {**PUBLISHED.llama, "max_position_embeddings": 2048}
OFFICIAL_IDS = SpecialIds(ats=61498, ate=94265, boa=59260, eoa=59253, pad=59246)
TINY_IDS = SpecialIds(ats=3, ate=42, boa=1, eoa=2, pad=0)
PROMPT_IDS, VOICE_TOKENS = 200, 125
"""Ids before a sequence's first speech token, and speech tokens of the voice prompt before a chunk."""
MAX_POSITIONS = 1024


# The AR stage


def random_llama(config: LlamaConfig, dtype: torch.dtype) -> Llama:
    """Random weights, without the minutes and the memory that an initialisation in float32 takes."""
    with torch.device("meta"):
        llama = Llama(config)
    llama = llama.to(dtype).to_empty(device=torch.get_default_device()).eval().requires_grad_(False)
    for parameter in llama.parameters():
        parameter.uniform_(-0.02, 0.02)
    return llama


def tiny_copy(config: LlamaConfig) -> Llama:
    """A model with the same layers and heads, so the same number of kernel launches, and a few channels."""
    heads, kv = config.num_attention_heads, config.num_key_value_heads
    sizes = {"num_hidden_layers": config.num_hidden_layers, "num_attention_heads": heads, "num_key_value_heads": kv}
    small = {"hidden_size": 2 * heads, "intermediate_size": 8, "head_dim": 2, "vocab_size": 64}
    llama = random_llama(LlamaConfig(**sizes, **small), torch.float32)
    llama.fuse()
    return llama


def make_decoder(llama: Llama, special: SpecialIds, rows: int, prompt: int = PROMPT_IDS) -> Decoder:
    """A decoder with `rows` active sequences that never end."""
    weight = llama.lm_head.weight
    cache = KVCache(llama.config, rows, MAX_POSITIONS, dtype=weight.dtype, device=weight.device)
    decoder = Decoder(llama, special, GenerationConfig(), cache)
    for slot in range(rows):
        decoder.add(
            slot, DecodeRequest((special.pad,) * prompt, LengthBounds(MAX_POSITIONS, MAX_POSITIONS - prompt), seed=slot)
        )
    return decoder


def step_bytes(llama: Llama, special: SpecialIds) -> int:
    """Bytes of weights that a step reads: the layers, and the head's rows of speech tokens."""
    width = llama.lm_head.weight.element_size()
    layers = sum(parameter.numel() for parameter in llama.model.layers.parameters())
    return width * (layers + llama.config.hidden_size * special.speech_tokens)


def ar_stages(llama: Llama, special: SpecialIds, roofline: Roofline, batches: list[int]) -> list[Stage]:
    """A decode step at each batch size."""
    dtype, size_bytes = llama.lm_head.weight.dtype, step_bytes(llama, special)
    flops, bandwidth = roofline.flops_per_second(dtype), roofline.bytes_per_second(size_bytes)
    tiny, stages = tiny_copy(llama.config), []
    for rows in batches:
        decoder, tiny_decoder = make_decoder(llama, special, rows), make_decoder(tiny, TINY_IDS, rows, prompt=1)
        seconds = median_seconds(decoder.step, 4 * roofline.repeats)
        launches = median_seconds(tiny_decoder.step, 4 * roofline.repeats)
        arithmetic = count_flops(decoder.logits) / flops  # the operations of a captured CUDA graph can't be counted
        costs = (1e3 * x for x in (seconds, arithmetic, size_bytes / bandwidth, launches))
        stages.append(Stage(f"AR step, {rows} rows", *costs, per_second=rows / seconds))
    return stages


# Flow and vocoder


def run(rows: FlowBatcher, row: FlowSequence) -> FlowSequence:
    while not rows.is_done(row):
        rows.step([row])
    return row


def flow_chunk(
    rows: FlowBatcher, mels: int, frames: int, context: int, before: LeftContext, keep: range
) -> FlowSequence:
    """A chunk of arbitrary tokens."""
    tokens_t, places_t = torch.ones(context + frames, dtype=torch.int64), torch.arange(context + frames)
    nothing_tm, noise_tm, speaker_d = torch.zeros(frames, mels), torch.randn(frames, mels), torch.randn(192)
    return rows.new_sequence(
        tokens_t, nothing_tm, speaker_d, noise_tm, context=before, positions_t=places_t, cache_frames=keep
    )


def flow_stages(flow: Flow, roofline: Roofline, dtype: torch.dtype = torch.float32) -> list[Stage]:
    """A chunk of each size of the schedule, after a voice prompt and earlier speech."""
    rows, mels, schedule = FlowBatcher(flow, torch.get_default_device()), flow.config.dit.mel_dim, ChunkSchedule()
    prompt, window = 2 * VOICE_TOKENS, 2 * schedule.left_context
    voice = run(rows, flow_chunk(rows, mels, prompt, 0, NO_CONTEXT, range(prompt))).cache
    speech = run(rows, flow_chunk(rows, mels, window, prompt, LeftContext(voice, None, prompt), range(window))).cache
    assert speech is not None
    before = LeftContext(voice, None, prompt).extended(speech, window, window)
    flops, stages = roofline.flops_per_second(dtype), []
    for size in schedule.sizes:
        frames = 2 * (size + schedule.lookahead)

        def chunk(frames: int = frames) -> Tensor:
            return run(rows, flow_chunk(rows, mels, frames, prompt + window, before, range(window))).x_tm

        seconds = median_seconds(chunk, roofline.repeats)
        arithmetic = count_flops(chunk) / flops
        name = f"flow, chunk of {size} tokens"
        stages.append(Stage(name, 1e3 * seconds, 1e3 * arithmetic, 0.0, 0.0, per_second=size / 25 / seconds))
    return stages


def vocoder_stages(vocoder: HiFT, roofline: Roofline) -> list[Stage]:
    """A window of each chunk size, with the context frames on both sides."""
    flops, stages = roofline.flops_per_second(), []
    for size in ChunkSchedule().sizes:
        mel_bct = torch.randn(1, 80, 2 * size + 2 * vocoder.context_frames)

        def window(mel_bct: Tensor = mel_bct) -> Tensor:
            return vocoder.render_window(mel_bct, torch.zeros(1, dtype=torch.int64))[0]

        seconds = median_seconds(window, roofline.repeats)
        name = f"vocoder, chunk of {size} tokens"
        arithmetic = count_flops(window) / flops
        stages.append(Stage(name, 1e3 * seconds, 1e3 * arithmetic, 0.0, 0.0, per_second=size / 25 / seconds))
    return stages


# Number formats


def bfloat16_stages(model: Model, roofline: Roofline) -> list[Stage]:
    """Flow and vocoder of the model, which stays in bfloat16."""
    cast_stages(model, StageFormats(flow="bfloat16", vocoder="bfloat16"))
    stages = flow_stages(model.flow, roofline, torch.bfloat16) + vocoder_stages(model.vocoders[24000], roofline)
    return [replace(stage, stage=f"{stage.stage}, bfloat16") for stage in stages]


def format_stages(path: Path, model: Model, roofline: Roofline) -> list[Stage]:
    """The step at batch sizes 1 and 8, and the flow's third chunk, in each number format."""
    quantised = load_llm(path / "llm", torch.float32).eval()
    quantised.model = torch.ao.quantization.quantize_dynamic(quantised.model, {nn.Linear}, dtype=torch.qint8)
    half = load_llm(path / "llm", torch.bfloat16).eval()
    half.fuse()
    compiled = load_llm(path / "llm", torch.float32).eval()
    compiled.fuse()
    compiled.forward_cached = torch.compile(compiled.forward_cached)  # type: ignore[method-assign]
    models = {"float32": model.llm, "bfloat16": half, "int8": quantised, "compiled": compiled}
    stages = []
    for name, llama in models.items():
        for rows in (1, 8):
            seconds = median_seconds(make_decoder(llama, model.special, rows).step, 4 * roofline.repeats)
            stages.append(Stage(f"AR step, {rows} rows, {name}", 1e3 * seconds, 0, 0, 0, rows / seconds))
    chunks = {"float32": flow_stages(model.flow, roofline)[2]}
    eager = model.flow.estimator.forward
    model.flow.estimator.forward = torch.compile(eager, dynamic=True)  # type: ignore[method-assign]
    chunks["compiled"] = flow_stages(model.flow, roofline)[2]
    model.flow.estimator.forward = eager  # type: ignore[method-assign]
    model.flow.estimator.to_bfloat16()
    chunks["bfloat16"] = flow_stages(model.flow, roofline, torch.bfloat16)[2]
    return stages + [Stage(f"{s.stage}, {name}", s.ms, 0, 0, 0, s.per_second) for name, s in chunks.items()]


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--checkpoint", type=Path, default=ROOT / "checkpoints" / "nano")
    flags.add_argument("--official", action="store_true", help="measure an AR stage of the published size")
    flags.add_argument("--formats", action="store_true", help="compare number formats; torch.compile needs a compiler")
    flags.add_argument("--bfloat16", action="store_true", help="flow and vocoder once more, in bfloat16")
    flags.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    flags.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 … (default: %(default)s)")
    flags.add_argument("--threads", type=int, default=1, help="threads of a stage; the engine uses 1 on two cores")
    flags.add_argument("--quick", action="store_true", help="few repetitions")
    flags.add_argument("--json", type=Path)
    return flags


@torch.inference_mode()
def main() -> None:
    args = parser().parse_args()
    torch.set_num_threads(args.threads)
    torch.set_default_device(args.device)  # of all tensors created below
    roofline = Roofline(repeats=2 if args.quick else 10)
    if args.official:
        llama = random_llama(LlamaConfig(**OFFICIAL), torch.bfloat16)
        llama.fuse()
        stages = ar_stages(llama, OFFICIAL_IDS, roofline, args.batches)
    else:
        model = load(args.checkpoint, device=args.device)
        if args.formats:
            stages = format_stages(args.checkpoint, model, roofline)
        else:
            stages = ar_stages(model.llm, model.special, roofline, args.batches) + flow_stages(model.flow, roofline)
            stages += vocoder_stages(model.vocoders[24000], roofline)
            if args.bfloat16:
                stages += bfloat16_stages(model, roofline)
    rates = {str(dtype): roofline.flops_per_second(dtype) / 1e9 for dtype in (torch.float32, torch.bfloat16)}
    bandwidth = roofline.bytes_per_second(2**30) / 1e9
    print(f"{args.threads} threads; GFLOP/s {rates}; read GB/s {bandwidth:.1f}\n\n{table(stages)}")
    if args.json:
        rows = [{**asdict(stage), "bound": stage.bound} for stage in stages]
        args.json.write_text(json.dumps({"rates": rates, "stages": rows}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
