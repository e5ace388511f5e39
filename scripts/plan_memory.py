"""Prints what a checkpoint takes of a GPU's memory, and how many listeners that allows, by size of the GPU.

The last column: how many streams' chunks may share a block of the flow that is recorded as a CUDA graph. More than
those run without.

    python -m scripts.plan_memory                                   the published sizes, without any files
    python -m scripts.plan_memory checkpoints/nano --gib 8 --llm-dtype int8

It is the plan that a server makes when it starts, which needs no GPU.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import torch
from transformers import LlamaConfig

from glmtts.checkpoint.model_sizes import ModelSizes, read_sizes
from glmtts.config import DiTConfig, FlowConfig, HiFTConfig, LlmFormat, NumberFormat, StageFormats
from glmtts.engine.config import EngineOptions
from glmtts.engine.runtime.engine import audio_limits_of
from glmtts.engine.runtime.loading import memory_needs
from glmtts.engine.runtime.memory_plan import MemoryNeeds
from glmtts.engine.synthesis.audio_recordings import BUFFER_SHARE
from glmtts.engine.synthesis.ladder import flow_shapes
from glmtts.errors import DeviceMemoryError
from glmtts.models.encoders.speaker_encoder import CampPlus
from glmtts.models.encoders.speech_tokenizer import WhisperVQ, WhisperVQConfig
from glmtts.models.flow.flow import Flow
from glmtts.models.flow.flow_block import block_layout
from glmtts.models.graphs import layout_bytes
from glmtts.models.llm.llama import Llama
from glmtts.models.vocoder.hift import HiFT
from scripts.standin.sizes import PUBLISHED

CUDA = torch.device("cuda")
CONTEXT_GIB = 0.6
"""Of a GPU's memory that CUDA itself takes: an estimate."""


def published_sizes() -> ModelSizes:
    """Those of the stand-in: the published ones, where they are known."""
    llm_config = LlamaConfig.from_dict(dict(PUBLISHED.llama))
    dit = {("trans_dim" if name == "dim" else name): value for name, value in PUBLISHED.dit.items()}
    flow_config = FlowConfig(dit=DiTConfig(**dit))
    with torch.device("meta"):
        speech_tokenizer = WhisperVQ(WhisperVQConfig.from_hf(PUBLISHED.whisper))
        others = (Flow(flow_config), HiFT(HiFTConfig()), speech_tokenizer, CampPlus())
        llm = Llama(llm_config)
    return ModelSizes(
        llm_config,
        flow_config,
        llm_numbers=sum(tensor.numel() for tensor in llm.parameters()),
        llm_dtype=torch.bfloat16,
        other_bytes=sum(tensor.nbytes for module in others for tensor in module.state_dict().values()),
    )


def flow_graphs(sizes: ModelSizes, options: EngineOptions, flow_dtype: torch.dtype, graph_bytes: int) -> int:
    """How many streams' chunks may at most share a block of the flow that is one graph; 0: it has no graphs."""
    with torch.device("meta"):
        flow = Flow(sizes.flow_config).to(flow_dtype)
    shapes = flow_shapes(options.chunk_schedule, audio_limits_of(options, CUDA), options.max_num_seqs)
    fits = [
        shape.rows
        for shape in shapes
        if shape.context and layout_bytes(block_layout(flow, shape)) <= BUFFER_SHARE * graph_bytes
    ]
    return max(fits, default=0)


def row(gib: float, sizes: ModelSizes, needs: MemoryNeeds, options: EngineOptions, flow_dtype: torch.dtype) -> str:
    """As Markdown: the plan's parts in GiB, listeners and voices, flow graphs; or that there is no plan."""
    cache_bytes = audio_limits_of(options, CUDA).voice_cache_bytes
    try:
        plan = needs.plan(CUDA, options.max_num_seqs, cache_bytes, int((gib - CONTEXT_GIB) * 2**30))
    except DeviceMemoryError as error:
        return f"| {gib:g} GB | refused: {error} ||||||| 0 | 0 | 0 |"
    weights, slots, streams, voices, cached, temporary, *graphs = (size / 2**30 for size in plan.parts.values())
    figures = (weights, slots, streams, voices, cached, temporary, sum(graphs))
    parts = " | ".join(f"{size:.1f}" for size in figures)
    recorded = flow_graphs(sizes, options, flow_dtype, plan.graph_bytes)
    return f"| {gib:g} GB | {parts} | {plan.listeners} | {plan.voices} | {recorded} |"


def main(arguments: Sequence[str] | None = None) -> None:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("checkpoint", type=Path, nargs="?", help="default: the published sizes")
    flags.add_argument("--gib", type=float, nargs="+", default=[80, 24, 16, 12, 8], help="default: 80 24 16 12 8")
    flags.add_argument("--listeners", type=int, default=16, help="as GLMTTS_MAX_NUM_SEQS; default: %(default)s")
    flags.add_argument("--llm-dtype", choices=[*get_args(NumberFormat), "int8"], default="auto")
    flags.add_argument("--flow-dtype", choices=["float32", "bfloat16"], default="bfloat16")
    args = flags.parse_args(arguments)
    sizes = read_sizes(args.checkpoint) if args.checkpoint else published_sizes()
    options = EngineOptions(max_num_seqs=args.listeners)
    llm_format: LlmFormat = args.llm_dtype
    needs = memory_needs(sizes, CUDA, options, StageFormats(llm_format, args.flow_dtype))
    columns = (
        "GPU", "weights", "KV cache", "flow caches", "voices in use", "kept voices", "results of a step", "graphs",
        "listeners", "in voices", "flow graphs up to",
    )  # fmt: skip
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for gib in args.gib:
        print(row(gib, sizes, needs, options, getattr(torch, args.flow_dtype)))


if __name__ == "__main__":
    main()
