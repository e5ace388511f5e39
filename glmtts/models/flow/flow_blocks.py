"""Blocks of sequences, each in one recorded step: their inputs are copied to fixed memory, and their results from it.

Dimension names: t frames, d channels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from glmtts.models.flow.dit_inputs import HALO
from glmtts.models.flow.flow import Flow
from glmtts.models.flow.flow_batch import FlowSequence
from glmtts.models.flow.flow_block import BlockShape, block_layout, solve_block
from glmtts.models.flow.flow_cache import FlowKVCache
from glmtts.models.graphs import RecordedSteps, StaticBuffers


class FlowBlocks:
    """Solves sequences of one flow in blocks of recorded `shapes`. For one thread at a time."""

    def __init__(
        self, flow: Flow, shapes: Iterable[BlockShape], device: torch.device | str, steps: RecordedSteps
    ) -> None:
        self._flow, self.steps = flow, steps
        self.shapes = sorted(shapes, key=lambda shape: shape.cost)
        self._times = flow.times(device=device)
        self._layouts = {shape: block_layout(flow, shape) for shape in self.shapes}
        self._memory = StaticBuffers(self._layouts.values(), torch.device(device))

    @property
    def nbytes(self) -> int:
        """Bytes of inputs and outputs."""
        return self._memory.nbytes

    @torch.inference_mode()
    def record(self, shape: BlockShape) -> None:
        """Records one of the shapes. Raises RuntimeError if that can't be done."""
        buffers = self._memory.views(self._layouts[shape])
        self.steps.record(shape, lambda: solve_block(self._flow, self._times, buffers, shape))

    def shape_for(self, sequences: Sequence[FlowSequence]) -> BlockShape | None:
        """The smallest recorded block that holds all sequences; None if there is none, or one of them has begun."""
        if any(sequence.step for sequence in sequences):
            return None
        contexts = (max(s.context.cached_frames, len(s.tokens_t) - s.frames) for s in sequences)
        kept = max(len(s.cache_frames) for s in sequences)
        needed = BlockShape(len(sequences), max(s.frames for s in sequences), max(contexts), kept)
        return next((shape for shape in self.shapes if shape in self.steps and shape.holds(needed)), None)

    @torch.inference_mode()
    def solve(self, sequences: Sequence[FlowSequence], shape: BlockShape) -> None:
        """All solver steps of sequences that fit into the shape. If it raises, none has changed."""
        buffers = self._memory.views(self._layouts[shape])
        _load(buffers, sequences)
        self.steps.replay(shape)
        results = [_result(buffers, row, sequence) for row, sequence in enumerate(sequences)]
        for sequence, (mel_tm, cache) in zip(sequences, results, strict=True):
            sequence.x_tm, sequence.cache, sequence.step = mel_tm, cache, len(self._times) - 1


def _load(buffers: dict[str, Tensor], sequences: Sequence[FlowSequence]) -> None:
    """Copies the inputs. Rows without a sequence get one frame of what is there, but no index that is out of range."""
    counts = [_counts(sequence) for sequence in sequences]
    unused = [_UNUSED] * (len(buffers["counts_bk"]) - len(counts))
    buffers["counts_bk"].copy_(torch.tensor([*counts, *unused]))
    buffers["tokens_bs"].zero_()
    buffers["positions_bs"].zero_()
    for row, sequence in enumerate(sequences):
        _load_own(buffers, row, sequence)
        _load_past(buffers, row, sequence)


_UNUSED = (1, 0, 0, 0, 0, 1)


def _counts(sequence: FlowSequence) -> tuple[int, ...]:
    """The row of `counts_bk`."""
    context, text_context = sequence.context, len(sequence.tokens_t) - sequence.frames
    hidden = min(HALO, sum(cache.hidden.shape[2] for cache in context.caches))
    return sequence.frames, text_context, context.cached_frames, hidden, context.frames, sequence.cache_frames.stop


def _load_own(buffers: dict[str, Tensor], row: int, sequence: FlowSequence) -> None:
    """A sequence's own frames begin where its context ends."""
    frames, tokens = sequence.frames, len(sequence.tokens_t)
    start = buffers["tokens_bs"].shape[1] - buffers["noise_btm"].shape[1] - (tokens - frames)
    buffers["tokens_bs"][row, start : start + tokens] = sequence.tokens_t
    buffers["positions_bs"][row, start : start + tokens] = sequence.positions_t
    buffers["noise_btm"][row, :frames] = sequence.x_tm
    buffers["cond_btm"][row, :frames] = sequence.cond_tm
    buffers["speaker_bd"][row] = sequence.speaker_d


def _load_past(buffers: dict[str, Tensor], row: int, sequence: FlowSequence) -> None:
    caches = sequence.context.caches
    _fill_from_end(buffers["past_keys"][:, :, :, row], [cache.keys for cache in caches])
    _fill_from_end(buffers["past_values"][:, :, :, row], [cache.values for cache in caches])
    _fill_from_end(buffers["past_hidden"][:, :, row], [cache.hidden for cache in caches])


def _fill_from_end(buffer: Tensor, parts: Sequence[Tensor]) -> None:
    """The last frames (dimension −2) of the parts, in order, behind zeros: a NaN there would spread, masked or not."""
    end = buffer.shape[-2]
    for part in reversed(parts):
        start = max(0, end - part.shape[-2])
        buffer[..., start:end, :] = part[..., part.shape[-2] - (end - start) :, :]
        end = start
    buffer[..., :end, :].zero_()


def _result(buffers: dict[str, Tensor], row: int, sequence: FlowSequence) -> tuple[Tensor, FlowKVCache | None]:
    """Copies of a sequence's mel and, if it is cached, of its keys and values."""
    mel_tm, frames = buffers["mel_btm"][row, : sequence.frames].clone(), sequence.cache_frames
    if not frames:
        return mel_tm, None
    keys, values = (buffers[name][:, :, :, row, :, -len(frames) :].clone() for name in ("kept_keys", "kept_values"))
    return mel_tm, FlowKVCache(keys, values, buffers["kept_hidden"][:, :, row, -min(frames.stop, HALO) :].clone())
