"""What the engine's steps cost on one card: seconds of the host's one interpreter, and of the device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Literal, NamedTuple

from glmtts.engine.runtime.engine import GPU_AUDIO_LIMITS
from glmtts.models.flow.flow_block import BlockShape
from glmtts.models.graphs import bucket_size
from scripts.prediction.cards import Card
from scripts.prediction.recorded import SLOTS, RecordedStages
from scripts.prediction.stages import CHUNKS, LAUNCH, MANY, PROMPT_CHUNKS, READING, Cost, Stages, cost

Stage = Literal["prefill", "llm", "flow", "vocoder"]

CHUNK_LAUNCHES = 103
"""Operations for each chunk around its steps, launched by Python: 88 around a block of the flow (noise, tokens, inputs,
results, caches), 15 around a window. `tests/glmtts/engine/test_chunk_launches.py` counts them in `AudioRunner.step`.
Around steps that are not recorded there are some twenty copies fewer, which is left out."""
REPLAY = 50e-6
"""Host seconds to replay a graph. **Assumed**: nano's whole step takes 0.36 ms on the H100."""


class Work(NamedTuple):
    """A step: seconds of the host, then of the device."""

    host: float
    device: float


@dataclass(frozen=True)
class Costs:
    """`graphs`: the stages that are replayed; the others are launched by Python.

    For code that was measured before it changed: `launch_factors`, how many times as many launches these had as now,
    and `chunk_launches`, those for each chunk around its steps.
    """

    stages: Stages
    card: Card
    graphs: frozenset[Stage]
    launch_factors: Mapping[Stage, float] = field(default_factory=dict, hash=False)
    chunk_launches: int | None = None

    def decode(self, rows: int) -> Work:
        computed = bucket_size(rows, 1, SLOTS) if "llm" in self.graphs else rows
        return self._work("llm", _between({n: self._decode(n) for n in self.stages.decode}, computed))

    def prefill(self) -> Work:
        """A chunk of a prompt, with its share of what the prompt needs besides."""
        recorded = "prefill" in self.graphs
        work = self._work("prefill", cost(self._recorded.prefill if recorded else self.stages.prefill, self.card))
        return Work(work.host + len(self.stages.new_prompt) / PROMPT_CHUNKS * LAUNCH, work.device)

    @property
    def most_window_rows(self) -> int:
        """Of a batch of windows."""
        return GPU_AUDIO_LIMITS.max_batch_frames // GPU_AUDIO_LIMITS.vocoder_frames

    def most_flow_rows(self, tokens: int) -> int:
        """Of a batch of chunks, the largest of so many tokens."""
        return self._recorded.most_rows(tokens, self.card) if "flow" in self.graphs else SLOTS

    def flow(self, tokens: int, rows: int) -> Work:
        """All solver steps of a batch of chunks, the largest of so many tokens."""
        around = rows * (self.chunk_launches or CHUNK_LAUNCHES) * LAUNCH
        if "flow" in self.graphs:
            shape = self._recorded.block_shape(tokens, rows, self.card)
            copies = rows * self._recorded.copied_bytes(shape) / (self.card.bandwidth * READING)
            work = self._work("flow", self._block(shape))
            return Work(work.host + around, work.device + max(0.0, copies - around))
        by_tokens = {size: _between({n: self._flow(size, n) for n in (1, MANY)}, rows) for size in CHUNKS}
        work = self._work("flow", _between(by_tokens, tokens))
        return Work(work.host + around, work.device)

    def vocoder(self, tokens: int, rows: int) -> Work:
        """A batch of windows, the largest of so many tokens."""
        if "vocoder" in self.graphs:
            shape = self._recorded.window_shape(tokens, rows)
            return self._work("vocoder", cost(self._recorded.window(shape), self.card))
        by_tokens = {size: _between({n: self._vocoder(size, n) for n in (1, MANY)}, rows) for size in CHUNKS}
        return self._work("vocoder", _between(by_tokens, tokens))

    @property
    def _recorded(self) -> RecordedStages:
        return _recorded_stages(self.stages)

    @cache  # noqa: B019
    def _block(self, shape: BlockShape) -> Cost:
        one, two = (cost(operations, self.card) for operations in self._recorded.block(shape))
        more = self.stages.solver_steps - 1
        return Cost(
            one.launches + more * (two.launches - one.launches),
            one.graph_seconds + more * (two.graph_seconds - one.graph_seconds),
        )

    @cache  # noqa: B019  # as many as there are cards
    def _decode(self, rows: int) -> Cost:
        return cost(self.stages.decode[rows], self.card, rows=rows)

    @cache  # noqa: B019
    def _flow(self, tokens: int, rows: int) -> Cost:
        return cost(self.stages.flow[tokens, rows], self.card, times=self.stages.solver_steps)

    @cache  # noqa: B019
    def _vocoder(self, tokens: int, rows: int) -> Cost:
        return cost(self.stages.vocoder[tokens, rows], self.card)

    def _work(self, stage: Stage, one: Cost) -> Work:
        if stage in self.graphs:
            return Work(REPLAY, one.graph_seconds)
        host = one.launches * self.launch_factors.get(stage, 1.0) * LAUNCH  # meanwhile the device works
        return Work(host, max(0.0, one.graph_seconds - host))


@cache
def _recorded_stages(stages: Stages) -> RecordedStages:
    """Counted once for all cards."""
    return RecordedStages(stages)


def _between(costs: Mapping[int, Cost], size: int) -> Cost:
    """On the line through the costs of the nearest two sizes."""
    counted = sorted(costs)
    above = next((n for n in counted[1:] if n >= size), counted[-1])
    below = counted[counted.index(above) - 1]
    share = (size - below) / (above - below)
    a, b = costs[below], costs[above]
    launches = round(a.launches + share * (b.launches - a.launches))
    return Cost(launches, a.graph_seconds + share * (b.graph_seconds - a.graph_seconds))
