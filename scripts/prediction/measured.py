"""What was measured on the H100 (docs/performance.md, docs/performance-notes.md), and what the model says of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from scripts.prediction.cards import H100
from scripts.prediction.checkpoints import nano, published
from scripts.prediction.costs import Costs, Stage, Work
from scripts.prediction.listeners import predict
from scripts.prediction.stages import Stages

FLOW_LAUNCHES, VOCODER_LAUNCHES, CHUNK_LAUNCHES = 356, 578, 154
"""In the code that was measured: of nano's chunk of 20 tokens, one solver step; of its window; around both."""
OVER_HTTP = {
    1: ((0.11, 23.5), (0.22, 5.7)),
    4: ((0.33, 30.2), (0.42, 13.9)),
    8: ((0.42, 46.6), (0.69, 23.8)),
    16: ((0.68, 64.9), (1.10, 32.4)),
}
"""By listeners: first audio (median, s) and audio seconds per second, with AR steps as graphs and all launched."""


@dataclass(frozen=True)
class Figure:
    """One that was measured, and the model's."""

    name: str
    measured: float
    predicted: float

    @property
    def ratio(self) -> float:
        """The model's to the measured one."""
        return self.predicted / self.measured


def figures() -> Iterator[Figure]:
    small, large = Stages(nano()), Stages(published(flow_in_bfloat16=False))
    then: dict[Stage, float] = {
        "flow": FLOW_LAUNCHES / len(small.flow[20, 1]),
        "vocoder": VOCODER_LAUNCHES / len(small.vocoder[20, 1]),
    }
    none = frozenset[Stage]()
    graphs, launched = (
        Costs(small, H100, stages, then, CHUNK_LAUNCHES) for stages in (frozenset({"llm"}) | none, none)
    )
    wide, wide_launched = Costs(large, H100, frozenset({"llm"})), Costs(large, H100, frozenset())
    for rows, ms in ((1, 2.45), (16, 3.05), (64, 3.54)):
        yield Figure(f"published AR step as a graph, {rows} rows, ms", ms, _ms(wide.decode(rows)))
    yield Figure("published AR step launched, 1 row, ms", 16.0, _ms(wide_launched.decode(1)))
    yield Figure("nano's AR step as a graph, 1 row, ms", 0.36, _ms(graphs.decode(1)))
    yield Figure("nano's AR step launched, 1 row, ms", 4.7, _ms(launched.decode(1)))
    yield Figure("nano's flow launched, a chunk, ms", 11.6, _ms(launched.flow(20, 1)))
    yield Figure("nano's vocoder launched, a chunk, ms", 12.0, _ms(launched.vocoder(20, 1)))
    for listeners, (with_graphs, without) in OVER_HTTP.items():
        for name, costs, measured in (("AR as graphs", graphs, with_graphs), ("all launched", launched, without)):
            prediction = predict(costs, listeners)
            where = f"nano over HTTP, {name}, {listeners} listeners"
            yield Figure(f"{where}: first audio, s", measured[0], prediction.first_audio)
            yield Figure(f"{where}: audio s / s", measured[1], prediction.audio_per_second)


def _ms(work: Work) -> float:
    return 1e3 * (work.host + work.device)
