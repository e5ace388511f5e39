"""The operations of the steps that are recorded, padded to the shapes of the ladder, and which one a batch gets.

Counted like those of `stages.py`, on tensors without values.
"""

from __future__ import annotations

from functools import cache, cached_property

import torch
from torch import Tensor

from glmtts.engine.config import ChunkSchedule, EngineOptions
from glmtts.engine.runtime.engine import GPU_AUDIO_LIMITS
from glmtts.engine.synthesis.audio_recordings import BUFFER_SHARE
from glmtts.engine.synthesis.ladder import WindowShape, flow_shapes, window_shapes
from glmtts.models.flow.flow_block import BlockShape, block_layout, solve_block
from glmtts.models.graphs import Outputs, RecordedSteps, StaticBuffers, Step, layout_bytes
from glmtts.models.llm.decoder import MIN_GRAPH_LENGTH
from glmtts.models.llm.kv_cache import KVCache
from glmtts.models.llm.recorded_prefill import PrefillShape, RecordedPrefill
from scripts.plan_memory import CONTEXT_GIB
from scripts.prediction.cards import Card
from scripts.prediction.operations import Operation, operations_of
from scripts.prediction.stages import (
    CONTEXT_FRAMES,
    LOOKAHEAD_FRAMES,
    POSITIONS,
    PREFILL_IDS,
    PROMPT_FRAMES,
    Stages,
    meta_flow,
)

META = torch.device("meta")
SLOTS = 64
"""Listeners that the engine is started for."""
SCHEDULE = ChunkSchedule()
"""Of whose chunks there are shapes, whatever sizes a measured pace gives them."""
_BEFORE = (PROMPT_FRAMES + CONTEXT_FRAMES, CONTEXT_FRAMES)
"""Frames before a chunk, and those that are kept of it."""


class RecordedStages:
    """Of the checkpoint whose plain stages are `stages`."""

    def __init__(self, stages: Stages) -> None:
        self._stages = stages
        self._flow = meta_flow(stages.sizes, stages.sizes.flow.n_timesteps)

    @cached_property
    @torch.inference_mode()
    def prefill(self) -> list[Operation]:
        """A chunk of a prompt."""
        llama, shape = self._stages.llama, PrefillShape(PREFILL_IDS, MIN_GRAPH_LENGTH)
        kv = KVCache(llama.config, 1, POSITIONS, dtype=torch.bfloat16, device=META)
        counted: list[Operation] = []

        def recorder(step: Step, *, warm_up: bool = True) -> Step:
            step()  # fills tables
            counted.extend(operations_of(step))
            return step

        RecordedPrefill(llama, kv, self._stages.sizes.special.pad, [shape], RecordedSteps(recorder)).record(shape)
        return counted

    def block_shape(self, tokens: int, rows: int, card: Card) -> BlockShape:
        """Of a batch of chunks, the largest of so many tokens; rows as there are, if no shape has as many."""
        frames = 2 * tokens + LOOKAHEAD_FRAMES
        fitting = [shape for shape in self._blocks(card) if shape.frames >= frames]
        needed = BlockShape(min(rows, self.most_rows(tokens, card)), frames, *_BEFORE)
        return min((shape for shape in fitting if shape.holds(needed)), key=lambda shape: shape.cost)

    def most_rows(self, tokens: int, card: Card) -> int:
        """The most rows of a block of chunks of so many tokens that the card's memory for graphs has room for."""
        needed = BlockShape(1, 2 * tokens + LOOKAHEAD_FRAMES, *_BEFORE)
        return max(shape.rows for shape in self._blocks(card) if shape.holds(needed))

    def copied_bytes(self, shape: BlockShape) -> float:
        """Read and written for each row, to fill a block's inputs and to keep its results."""
        return 2.0 * layout_bytes(block_layout(self._flow, shape)) / shape.rows

    @cache  # noqa: B019  # as many as there are shapes
    def block(self, shape: BlockShape) -> tuple[list[Operation], list[Operation]]:
        """A block of one solver step, and of two: each further one adds as much."""
        return self._block(shape, 1), self._block(shape, 2)

    def window_shape(self, tokens: int, rows: int) -> WindowShape:
        """Of a batch of windows, the largest of so many tokens."""
        context = self._stages.hift.context_frames
        shapes = window_shapes(SCHEDULE, GPU_AUDIO_LIMITS, context, SLOTS)
        needed = WindowShape(rows, 2 * tokens + 2 * context)
        return min((shape for shape in shapes if shape.holds(needed)), key=lambda shape: shape.rows * shape.frames)

    @cache  # noqa: B019
    @torch.inference_mode()
    def window(self, shape: WindowShape) -> list[Operation]:
        """A batch of windows."""
        with META:
            mel_bct = torch.zeros(shape.rows, self._stages.hift.config.in_channels, shape.frames)
            counts_b, phase_b = torch.zeros(shape.rows, dtype=torch.int64), torch.zeros(shape.rows, dtype=torch.float64)

            def render() -> tuple[Tensor, Tensor]:
                return self._stages.hift.render_window(
                    mel_bct, counts_b, start_frame=counts_b, history=counts_b, phase_b=phase_b
                )

            return operations_of(render)

    def _blocks(self, card: Card) -> list[BlockShape]:
        """Of chunks: those whose inputs and outputs fit, as in `AudioRecordings`."""
        memory = (card.memory - CONTEXT_GIB) * 2**30 * EngineOptions().graph_memory * BUFFER_SHARE
        shapes = flow_shapes(SCHEDULE, GPU_AUDIO_LIMITS, SLOTS)
        return [s for s in shapes if s.context and layout_bytes(block_layout(self._flow, s)) <= memory]

    @torch.inference_mode()
    def _block(self, shape: BlockShape, steps: int) -> list[Operation]:
        layout = block_layout(self._flow, shape)
        buffers, times = StaticBuffers([layout], META).views(layout), self._flow.times(device=META)[: steps + 1]

        def solve() -> Outputs:
            return solve_block(self._flow, times, buffers, shape)

        with META:
            return operations_of(solve)
