#!/usr/bin/env python3
"""Counts the launches of each stage's step, without weights: at the size of a checkpoint, on tensors without values.

    python -m scripts.benchmarks.stage_launches                 checkpoints/nano and the published size

`recorded` is what a CUDA graph holds that is launched once; `plain` is what Python launches one by one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import LlamaConfig

from glmtts.checkpoint.flow_config import read_flow_config
from glmtts.config import DiTConfig, FlowConfig, GenerationConfig, HiFTConfig, from_mapping
from glmtts.models.flow.flow import Flow
from glmtts.models.flow.flow_batch import FlowBatcher, FlowSequence
from glmtts.models.flow.flow_block import BlockShape, block_layout, solve_block
from glmtts.models.flow.flow_cache import FlowKVCache, LeftContext
from glmtts.models.graphs import RecordedSteps, StaticBuffers, Step
from glmtts.models.llm.decoder import Decoder, DecodeRequest
from glmtts.models.llm.kv_cache import KVCache
from glmtts.models.llm.llama import Llama
from glmtts.models.llm.prompt import LengthBounds, SpecialIds
from glmtts.models.llm.recorded_prefill import PrefillShape, RecordedPrefill
from glmtts.models.vocoder.hift import HiFT
from scripts.benchmarks.launches import LaunchCount, count_launches
from scripts.standin.sizes import PUBLISHED

ROOT = Path(__file__).resolve().parents[2]
META = torch.device("meta")
IDS = SpecialIds(ats=4, ate=67, boa=1, eoa=2, pad=0)


@dataclass(frozen=True)
class StageConfigs:
    """What decides how many operations the stages have."""

    llm: LlamaConfig
    flow: FlowConfig
    vocoder: HiFTConfig


def checkpoint_configs(folder: Path) -> StageConfigs:
    """Those of a checkpoint."""
    hift = json.loads((folder / "hift" / "config.json").read_text(encoding="utf-8"))
    return StageConfigs(
        LlamaConfig.from_pretrained(folder / "llm"),
        read_flow_config(folder / "flow" / "config.yaml"),
        from_mapping(HiFTConfig, hift, where="hift config"),
    )


def published_configs() -> StageConfigs:
    """Those of the published checkpoint."""
    dit = dict(PUBLISHED.dit)
    flow = FlowConfig(dit=DiTConfig(trans_dim=dit.pop("dim"), **dit))
    return StageConfigs(LlamaConfig(**PUBLISHED.llama), flow, HiFTConfig())


@torch.inference_mode()
def decode_launches(config: LlamaConfig, rows: int = 1, length: int = 256) -> LaunchCount:
    """Of a step that reads `length` positions."""
    llama = _llama(config)
    cache = KVCache(config, rows, length, device=META)
    decoder = Decoder(llama, IDS, GenerationConfig(), cache, fixed_shape=True, steps=RecordedSteps(None))
    decoder.step()  # fills tables
    return count_launches(decoder.step)


@torch.inference_mode()
def prefill_launches(config: LlamaConfig, ids: int = 128, length: int = 256) -> LaunchCount:
    """Of a recorded chunk of a prompt."""
    recorder, shape = _CountingRecorder(), PrefillShape(ids, length)
    cache = KVCache(config, 2, length, device=META)
    RecordedPrefill(_llama(config), cache, IDS.pad, [shape], RecordedSteps(recorder)).record(shape)
    return recorder.count


@torch.inference_mode()
def plain_prefill_launches(config: LlamaConfig, ids: int = 128) -> LaunchCount:
    """Of the same without a recording."""
    decoder = Decoder(_llama(config), IDS, GenerationConfig(), KVCache(config, 2, 2 * ids, device=META))
    request = DecodeRequest((IDS.pad,) * (ids + 1), LengthBounds(1, 1), seed=0)
    decoder.prefill(0, request, 0, ids)  # fills tables
    return count_launches(lambda: decoder.prefill(0, request, 0, ids))


@torch.inference_mode()
def block_launches(config: FlowConfig, shape: BlockShape) -> LaunchCount:
    """Of a block of the flow, all solver steps."""
    flow = _flow(config)
    layout = block_layout(flow, shape)
    buffers, times = StaticBuffers([layout], META).views(layout), flow.times(device=META)
    return count_launches(lambda: solve_block(flow, times, buffers, shape))


@torch.inference_mode()
def plain_block_launches(config: FlowConfig, shape: BlockShape) -> LaunchCount:
    """Of the same for one sequence as long as the shape, without a recording: step by step."""
    flow = _flow(config)
    batcher = FlowBatcher(flow, META)
    layout = block_layout(flow, shape._replace(rows=1))
    past = StaticBuffers([layout], META).views(layout)
    cache = FlowKVCache(
        *(past[name][:, :, :, 0] for name in ("past_keys", "past_values")), past["past_hidden"][:, :, 0]
    )

    def chunk() -> FlowSequence:
        frames, tokens = shape.frames, shape.context + shape.frames
        sequence = batcher.new_sequence(
            torch.zeros(tokens, dtype=torch.int64, device=META), torch.zeros(frames, config.dit.mel_dim, device=META),
            torch.zeros(config.spk_embed_dim, device=META), torch.zeros(frames, config.dit.mel_dim, device=META),
            context=LeftContext(cache, None, shape.context), positions_t=torch.arange(tokens, device=META),
            cache_frames=range(frames - shape.kept, frames),
        )  # fmt: skip
        while not batcher.is_done(sequence):
            batcher.step([sequence])
        return sequence

    return count_launches(chunk)


@torch.inference_mode()
def window_launches(config: HiFTConfig, rows: int = 1, frames: int = 128) -> LaunchCount:
    """Of a batch of vocoder windows."""
    vocoder = HiFT(config).fold_weight_norm().eval().to(META)
    mel_bct = torch.zeros(rows, config.in_channels, frames, device=META)
    counts_b = torch.zeros(rows, dtype=torch.int64, device=META)

    def window() -> tuple[Tensor, Tensor]:
        phase_b = torch.zeros(rows, dtype=torch.float64, device=META)
        return vocoder.render_window(mel_bct, counts_b, start_frame=counts_b, history=counts_b, phase_b=phase_b)

    return count_launches(window)


class _CountingRecorder:
    """Counts the launches of the step that it is given."""

    count: LaunchCount

    def __call__(self, step: Step, *, warm_up: bool = True) -> Step:
        step()  # fills tables
        self.count = count_launches(step)
        return step


def _llama(config: LlamaConfig) -> Llama:
    with META:
        llama = Llama(config).eval()
    llama.fuse()
    return llama


def _flow(config: FlowConfig) -> Flow:
    with META:
        flow = Flow(config)
    return flow.eval().to(META)


def main() -> None:
    shape = BlockShape(rows=1, frames=64, context=320, kept=64)
    print("| launches | chunk of a prompt | plain | decode step | block of the flow | plain | vocoder window |")
    print("|---" * 7 + "|")
    for name, configs in (
        ("nano", checkpoint_configs(ROOT / "checkpoints" / "nano")),
        ("published", published_configs()),
    ):
        counts = (
            prefill_launches(configs.llm), plain_prefill_launches(configs.llm), decode_launches(configs.llm),
            block_launches(configs.flow, shape),
            plain_block_launches(configs.flow, shape), window_launches(configs.vocoder),
        )  # fmt: skip
        print(f"| {name} | {' | '.join(f'{count.launches:,}' for count in counts)} |")


if __name__ == "__main__":
    main()
