"""What the engine's steps cost on one card: seconds of the host's one interpreter, and of the device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Literal, NamedTuple

from scripts.prediction.cards import Card
from scripts.prediction.stages import CHUNKS, LAUNCH, MANY, Cost, Stages, cost

Stage = Literal["prefill", "llm", "flow", "vocoder"]

CHUNK_LAUNCHES = 74
"""Operations for each chunk around its steps, launched by Python: 61 for noise and tokens, 5 for caches, 8 for windows.
Counted in `AudioRunner.step`, whose other operations are those of flow and vocoder."""
REPLAY = 50e-6
"""Host seconds to replay a graph and to fill its inputs. **Assumed**: nano's whole step takes 0.36 ms on the H100."""
VOCODER_ROWS = 16
"""Windows of one batch: `GPU_AUDIO_LIMITS`, frames of a batch by those of a window."""


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
        return self._work("llm", _between({n: self._decode(n) for n in self.stages.decode}, rows))

    def prefill(self) -> Work:
        """A chunk of a prompt."""
        return self._work("prefill", cost(self.stages.prefill, self.card))

    def flow(self, tokens: int, rows: int) -> Work:
        """All solver steps of a batch of chunks, the largest of so many tokens."""
        by_tokens = {size: _between({n: self._flow(size, n) for n in (1, MANY)}, rows) for size in CHUNKS}
        work = self._work("flow", _between(by_tokens, tokens))
        outside = self.chunk_launches or len(self.stages.new_sequence) + CHUNK_LAUNCHES
        return Work(work.host + rows * outside * LAUNCH, work.device)

    def vocoder(self, tokens: int, rows: int) -> Work:
        """A batch of windows, the largest of so many tokens."""
        by_tokens = {size: _between({n: self._vocoder(size, n) for n in (1, MANY)}, rows) for size in CHUNKS}
        return self._work("vocoder", _between(by_tokens, tokens))

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


def _between(costs: Mapping[int, Cost], size: int) -> Cost:
    """On the line through the costs of the nearest two sizes."""
    counted = sorted(costs)
    above = next((n for n in counted[1:] if n >= size), counted[-1])
    below = counted[counted.index(above) - 1]
    share = (size - below) / (above - below)
    a, b = costs[below], costs[above]
    launches = round(a.launches + share * (b.launches - a.launches))
    return Cost(launches, a.graph_seconds + share * (b.graph_seconds - a.graph_seconds))
