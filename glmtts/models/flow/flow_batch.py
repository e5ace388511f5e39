"""Continuous batching of the flow: each sequence is at its own solver step, and a step takes any of them together.

An urgent sequence does not wait for another to finish, nor does a batch need sequences that have come equally far. A
sequence may attend to a left context and be cached as the context of a later one.
Dimension names: b batch, t time in mel frames, m mel bins, d channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from glmtts.models.flow.dit_cache import StepKV
from glmtts.models.flow.flow import Flow, FlowInputs
from glmtts.models.flow.flow_cache import NO_CONTEXT, FlowKVCache, LeftContext, batch_past


@dataclass(eq=False)
class FlowSequence:
    """A sequence on its way from noise to mel: x (t, m), and what the flow is given for it, see
    `FlowBatcher.new_sequence`. Compared by identity.

    inputs: what solver steps share, those of a batch of one; computed by the first of them.
    """

    x_tm: Tensor
    tokens_t: Tensor
    cond_tm: Tensor
    speaker_d: Tensor
    positions_t: Tensor
    context: LeftContext = NO_CONTEXT
    cache_frames: range = range(0)
    step: int = 0
    cache: FlowKVCache | None = None
    inputs: FlowInputs | None = None

    @property
    def frames(self) -> int:
        return self.x_tm.shape[0]


class FlowBatcher:
    """Solver steps of one flow. A sequence without context gets exactly what `Flow.solve` gives it."""

    def __init__(self, flow: Flow, device: torch.device | str) -> None:
        self._flow = flow
        self._times = flow.times(device=device)
        self.num_steps = len(self._times) - 1

    @torch.inference_mode()
    def new_sequence(
        self,
        tokens_t: Tensor,
        cond_tm: Tensor,
        spk_d: Tensor,
        noise_tm: Tensor,
        *,
        context: LeftContext = NO_CONTEXT,
        positions_t: Tensor | None = None,
        cache_frames: range = range(0),
    ) -> FlowSequence:
        """A sequence of a token per frame, the prompt's mel and zeros after it, a raw speaker vector, and noise.

        With a context, `tokens_t` begins with the context's tokens and `positions_t` is needed: see
        `Flow.prepare_inputs`. cache_frames: which of its own frames are kept in `cache`.
        """
        if positions_t is None:
            positions_t = torch.arange(len(tokens_t), device=tokens_t.device)
        return FlowSequence(noise_tm, tokens_t, cond_tm, spk_d, positions_t, context, cache_frames)

    def is_done(self, sequence: FlowSequence) -> bool:
        """Whether its x is the mel."""
        return sequence.step == self.num_steps

    @torch.inference_mode()
    def step(self, sequences: Sequence[FlowSequence]) -> None:
        """One solver step for each sequence that is not done. If it raises, none has changed."""
        if pending := [sequence for sequence in sequences if not self.is_done(sequence)]:
            self._step(pending)

    def _step(self, sequences: Sequence[FlowSequence]) -> None:
        frames, steps = [s.frames for s in sequences], [s.step for s in sequences]
        longest, device = max(frames), self._times.device
        step_b = torch.tensor(steps, device=device)
        time_b, next_time_b = self._times[step_b], self._times[step_b + 1]
        valid_bt = None
        if min(frames) < longest:
            valid_bt = torch.arange(longest, device=device) < torch.tensor(frames, device=device)[:, None]
        x_btm = torch.stack([F.pad(s.x_tm, (0, 0, 0, longest - s.frames)) for s in sequences])
        velocity_btm, kv = self._flow.velocity(
            x_btm,
            _batch_inputs([self._inputs(s) for s in sequences], longest),
            time_b,
            valid_bt=valid_bt,
            past=batch_past([s.context for s in sequences], steps, device),
            use_cache=any(s.cache_frames for s in sequences),
        )
        next_btm = x_btm + (next_time_b - time_b)[:, None, None] * velocity_btm
        for index, (sequence, x_tm) in enumerate(zip(sequences, next_btm, strict=True)):
            if kv is not None and sequence.cache_frames:
                self._cache_step(sequence, kv.sequence(index, self._flow.cfg_batch))
            sequence.x_tm = x_tm[: sequence.frames]
            sequence.step += 1

    def _inputs(self, sequence: FlowSequence) -> FlowInputs:
        if sequence.inputs is None:
            rows = (sequence.tokens_t[None], sequence.cond_tm[None], sequence.speaker_d[None])
            sequence.inputs = self._flow.prepare_inputs(*rows, positions_t=sequence.positions_t)
        return sequence.inputs

    def _cache_step(self, sequence: FlowSequence, kv: StepKV) -> None:
        sequence.cache = sequence.cache or FlowKVCache.allocate(kv, self.num_steps, sequence.cache_frames)
        sequence.cache.write(sequence.step, kv, sequence.cache_frames)


def _batch_inputs(inputs: Sequence[FlowInputs], longest: int) -> FlowInputs:
    """The inputs of one padded batch."""
    if len(inputs) == 1:
        return inputs[0]
    batched = []
    for parts in zip(*inputs, strict=True):
        padded = [part if part.ndim == 2 else F.pad(part, (0, 0, 0, longest - part.shape[1])) for part in parts]
        # (2, b, …) to (2b, …): first all with the condition, then all without.
        batched.append(torch.stack(padded, dim=1).flatten(0, 1))
    return FlowInputs(*batched)
