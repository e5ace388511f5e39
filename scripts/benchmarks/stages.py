#!/usr/bin/env python3
"""What each stage of the model takes, against what it would take at the machine's own limits.

    scripts/benchmarks/stages.py                      checkpoints/nano: AR steps, flow blocks, vocoder windows
    scripts/benchmarks/stages.py --official           an AR model of the published size, random weights, bfloat16 (4 GB)
    scripts/benchmarks/stages.py --formats            float32, bfloat16, int8 and torch.compile side by side
    scripts/benchmarks/stages.py --checkpoint DIR --quick     few repetitions, to see that it works
    scripts/benchmarks/stages.py --device cuda                on a GPU, also with --official

The limits are measured in the same run: matrix products a second, bytes read a second, and what it costs to launch a
step's operations when they have nothing to do (the same model with widths of a few channels). A stage's floor is the
greater of its arithmetic and its reading, and its launches. Knows nothing about servers or engines.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlamaConfig

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # run as a file, it does not see its own package

from glmtts.checkpoint.loader import Model, load, load_llm  # noqa: E402  # the line above comes first
from glmtts.config import GenerationConfig  # noqa: E402
from glmtts.engine.config import ChunkSchedule  # noqa: E402
from glmtts.models.flow.flow import Flow  # noqa: E402
from glmtts.models.flow.flow_batch import FlowRow, FlowRows  # noqa: E402
from glmtts.models.flow.flow_cache import NOTHING, Before  # noqa: E402
from glmtts.models.llm.decoder import Decoder, DecodeRequest  # noqa: E402
from glmtts.models.llm.kv_cache import KVCache  # noqa: E402
from glmtts.models.llm.llama import Llama  # noqa: E402
from glmtts.models.llm.prompt import LengthBounds, SpecialIds  # noqa: E402
from glmtts.models.vocoder.hift import HiFT  # noqa: E402
from scripts.benchmarks.roofline import Machine, Stage, operations, table, timed  # noqa: E402

OFFICIAL: dict[str, Any] = {
    "hidden_size": 2048,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "intermediate_size": 6144,
    "vocab_size": 98304,
    "max_position_embeddings": 2048,
}
OFFICIAL_IDS = SpecialIds(ats=61498, ate=94265, boa=59260, eoa=59253, pad=59246)
EMPTY_IDS = SpecialIds(ats=3, ate=42, boa=1, eoa=2, pad=0)
PROMPT, VOICE = 200, 125
"""Ids before a row's first token, and speech tokens of the voice before a block's."""
SLOT = 1024


# The AR stage


def random_llama(config: LlamaConfig, dtype: torch.dtype) -> Llama:
    """Without the minutes and the memory that an initialisation in float32 takes."""
    with torch.device("meta"):
        llama = Llama(config)
    llama = llama.to(dtype).to_empty(device=torch.get_default_device()).eval().requires_grad_(False)
    for parameter in llama.parameters():
        parameter.uniform_(-0.02, 0.02)
    return llama


def empty_twin(config: LlamaConfig) -> Llama:
    """As many layers and heads, so as many operations, on next to nothing."""
    heads, kv = config.num_attention_heads, config.num_key_value_heads
    sizes = {"num_hidden_layers": config.num_hidden_layers, "num_attention_heads": heads, "num_key_value_heads": kv}
    small = {"hidden_size": 2 * heads, "intermediate_size": 8, "head_dim": 2, "vocab_size": 64}
    llama = random_llama(LlamaConfig(**sizes, **small), torch.float32)
    llama.fuse()
    return llama


def decoder(llama: Llama, special: SpecialIds, rows: int, prompt: int = PROMPT) -> Decoder:
    """With so many rows at work, none of which ends."""
    weight = llama.lm_head.weight
    cache = KVCache(llama.config, rows, SLOT, dtype=weight.dtype, device=weight.device)
    made = Decoder(llama, special, GenerationConfig(), cache)
    for slot in range(rows):
        made.add(slot, DecodeRequest((special.pad,) * prompt, LengthBounds(SLOT, SLOT - prompt), seed=slot))
    return made


def step_bytes(llama: Llama, special: SpecialIds) -> int:
    """What a step reads of the weights: the layers, and of the head the rows that can be drawn."""
    width = llama.lm_head.weight.element_size()
    layers = sum(parameter.numel() for parameter in llama.model.layers.parameters())
    return width * (layers + llama.config.hidden_size * special.speech_tokens)


def draw_stages(llama: Llama, special: SpecialIds, machine: Machine, batches: list[int]) -> list[Stage]:
    """A decode step of so many rows each."""
    dtype, size = llama.lm_head.weight.dtype, step_bytes(llama, special)
    speed, read = machine.operations(dtype), machine.read(size)
    twin, found = empty_twin(llama.config), []
    for rows in batches:
        own, empty = decoder(llama, special, rows), decoder(twin, EMPTY_IDS, rows, prompt=1)
        seconds = timed(own.step, 4 * machine.repeats)
        launches = timed(empty.step, 4 * machine.repeats)
        arithmetic = operations(own.logits) / speed  # a recorded step shows none of its operations
        costs = (1e3 * x for x in (seconds, arithmetic, size / read, launches))
        found.append(Stage(f"AR step, {rows} rows", *costs, per_second=rows / seconds))
    return found


# Flow and vocoder


def spoken(rows: FlowRows, row: FlowRow) -> FlowRow:
    while not rows.done(row):
        rows.advance([row])
    return row


def flow_block(rows: FlowRows, mels: int, frames: int, context: int, before: Before, keep: range) -> FlowRow:
    """A block of made-up tokens."""
    tokens_t, places_t = torch.ones(context + frames, dtype=torch.int64), torch.arange(context + frames)
    nothing_tm, noise_tm, speaker_d = torch.zeros(frames, mels), torch.randn(frames, mels), torch.randn(192)
    return rows.begin(tokens_t, nothing_tm, speaker_d, noise_tm, before=before, places_t=places_t, keep=keep)


def flow_stages(flow: Flow, machine: Machine, dtype: torch.dtype = torch.float32) -> list[Stage]:
    """A block of each size of the ladder, after a voice's prompt and what was said; seconds of sound a second."""
    rows, mels, ladder = FlowRows(flow, torch.get_default_device()), flow.config.dit.mel_dim, ChunkSchedule()
    prompt, window = 2 * VOICE, 2 * ladder.left_context
    voice = spoken(rows, flow_block(rows, mels, prompt, 0, NOTHING, range(prompt))).memory
    said = spoken(rows, flow_block(rows, mels, window, prompt, Before(voice, None, prompt), range(window))).memory
    assert said is not None
    before = Before(voice, None, prompt).followed_by(said, window, window)
    speed, found = machine.operations(dtype), []
    for size in ladder.sizes:
        frames = 2 * (size + ladder.lookahead)

        def block(frames: int = frames) -> Tensor:
            return spoken(rows, flow_block(rows, mels, frames, prompt + window, before, range(window))).x_tm

        seconds = timed(block, machine.repeats)
        arithmetic = operations(block) / speed
        name = f"flow, block of {size} tokens"
        found.append(Stage(name, 1e3 * seconds, 1e3 * arithmetic, 0.0, 0.0, per_second=size / 25 / seconds))
    return found


def vocoder_stages(vocoder: HiFT, machine: Machine) -> list[Stage]:
    """Windows of as many frames as a block has, the context beside them included; seconds of sound a second."""
    speed, found = machine.operations(), []
    for size in ChunkSchedule().sizes:
        mel_bct = torch.randn(1, 80, 2 * size + 2 * vocoder.context_frames)

        def window(mel_bct: Tensor = mel_bct) -> Tensor:
            return vocoder.window(mel_bct, torch.zeros(1, dtype=torch.int64))[0]

        seconds = timed(window, machine.repeats)
        name = f"vocoder, block of {size} tokens"
        arithmetic = operations(window) / speed
        found.append(Stage(name, 1e3 * seconds, 1e3 * arithmetic, 0.0, 0.0, per_second=size / 25 / seconds))
    return found


# Number formats


def format_stages(path: Path, model: Model, machine: Machine) -> list[Stage]:
    """The step of one row and of eight, and the flow's third block, in each format. Where none is better, float32."""
    quantised = load_llm(path / "llm", torch.float32).eval()
    quantised.model = torch.ao.quantization.quantize_dynamic(quantised.model, {nn.Linear}, dtype=torch.qint8)
    half = load_llm(path / "llm", torch.bfloat16).eval()
    half.fuse()
    compiled = load_llm(path / "llm", torch.float32).eval()
    compiled.fuse()
    compiled.forward_cached = torch.compile(compiled.forward_cached)  # type: ignore[method-assign]
    models = {"float32": model.llm, "bfloat16": half, "int8": quantised, "compiled": compiled}
    found = []
    for name, llama in models.items():
        for rows in (1, 8):
            seconds = timed(decoder(llama, model.special, rows).step, 4 * machine.repeats)
            found.append(Stage(f"AR step, {rows} rows, {name}", 1e3 * seconds, 0, 0, 0, rows / seconds))
    blocks = {"float32": flow_stages(model.flow, machine)[2]}
    eager = model.flow.estimator.following
    model.flow.estimator.following = torch.compile(eager, dynamic=True)  # type: ignore[method-assign]
    blocks["compiled"] = flow_stages(model.flow, machine)[2]
    model.flow.estimator.following = eager  # type: ignore[method-assign]
    model.flow.estimator.halve()
    blocks["bfloat16"] = flow_stages(model.flow, machine, torch.bfloat16)[2]
    return found + [Stage(f"{s.stage}, {name}", s.ms, 0, 0, 0, s.per_second) for name, s in blocks.items()]


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--checkpoint", type=Path, default=ROOT / "checkpoints" / "nano")
    flags.add_argument("--official", action="store_true", help="the AR stage of the published size instead")
    flags.add_argument("--formats", action="store_true", help="number formats instead; torch.compile needs a compiler")
    flags.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    flags.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 … (default: %(default)s)")
    flags.add_argument("--threads", type=int, default=1, help="cores for a stage; the engine gives one on two cores")
    flags.add_argument("--quick", action="store_true", help="few repetitions")
    flags.add_argument("--json", type=Path)
    return flags


@torch.inference_mode()
def main() -> None:
    args = parser().parse_args()
    torch.set_num_threads(args.threads)
    torch.set_default_device(args.device)  # of all that is made up below
    machine = Machine(repeats=2 if args.quick else 10)
    if args.official:
        llama = random_llama(LlamaConfig(**OFFICIAL), torch.bfloat16)
        llama.fuse()
        stages = draw_stages(llama, OFFICIAL_IDS, machine, args.batches)
    else:
        model = load(args.checkpoint, device=args.device)
        if args.formats:
            stages = format_stages(args.checkpoint, model, machine)
        else:
            stages = draw_stages(model.llm, model.special, machine, args.batches) + flow_stages(model.flow, machine)
            stages += vocoder_stages(model.vocoders[24000], machine)
    rates = {str(dtype): machine.operations(dtype) / 1e9 for dtype in (torch.float32, torch.bfloat16)}
    print(f"{args.threads} threads; GFLOP/s {rates}; read GB/s {machine.read(2**30) / 1e9:.1f}\n\n{table(stages)}")
    if args.json:
        rows = [{**asdict(stage), "floor": stage.floor} for stage in stages]
        args.json.write_text(json.dumps({"rates": rates, "stages": rows}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
