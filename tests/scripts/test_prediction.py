"""The model of the time agrees with what was measured, counts what the code does, and follows the engine's rules."""

from __future__ import annotations

import statistics
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from glmtts.engine.config import ChunkSchedule
from glmtts.engine.scheduling.chunking import Chunker
from glmtts.models.flow.flow_block import BlockShape
from scripts.benchmarks.stage_launches import block_launches, published_configs
from scripts.prediction.cards import CARDS, H100, L4
from scripts.prediction.checkpoints import published
from scripts.prediction.costs import Costs, Stage, Work
from scripts.prediction.listeners import chunk_sizes, predict
from scripts.prediction.measured import figures
from scripts.prediction.operations import operations_of
from scripts.prediction.sharing import Clock, Thread, Use
from scripts.prediction.stages import Stages

SHAPE = BlockShape(rows=1, frames=64, context=320, kept=64)
STAGES = Stages(published(flow_in_bfloat16=False))


@pytest.mark.slow
def test_it_agrees_with_what_was_measured() -> None:
    """Half of the figures within 20 %, all within a factor of two."""
    ratios = [max(one.ratio, 1 / one.ratio) for one in figures()]
    assert len(ratios) == 24
    assert statistics.median(ratios) < 1.2
    assert max(ratios) < 2


@torch.inference_mode()
def test_an_operation_computes_and_moves_what_it_must() -> None:
    """A product, attention as one operation, a lookup that reads its rows alone; a broadcast tensor is read once."""
    with torch.device("meta"):
        a, b, table = torch.empty(8, 16), torch.empty(16, 4), torch.empty(1000, 16)
        row, heads, ids = torch.empty(1, 16), torch.empty(1, 2, 8, 4), torch.empty(3, dtype=torch.int64)

        def attend() -> Tensor:
            return F.scaled_dot_product_attention(heads, heads, heads)

        product, attention, lookup, addition = (
            operations_of(step) for step in (lambda: a @ b, attend, lambda: table[ids], lambda: a + row.expand(8, 16))
        )
    assert [(one.flops, one.size_bytes) for one in product] == [(2 * 8 * 16 * 4, 4 * (8 * 16 + 16 * 4 + 8 * 4))]
    assert [(one.flops, one.size_bytes) for one in attention] == [(4 * 2 * 8 * 8 * 4, 4 * 4 * 2 * 8 * 4)]
    assert [one.size_bytes for one in lookup] == [2 * 4 * 3 * 16]
    assert [one.size_bytes for one in addition] == [4 * (8 * 16 + 16 + 8 * 16)]


def test_a_slower_card_takes_longer() -> None:
    """By its bandwidth where much is read, and by its arithmetic where much is computed."""
    with torch.device("meta"):
        few, many, weights = torch.empty(1, 4096), torch.empty(8192, 4096), torch.empty(4096, 4096)
        reading, computing = operations_of(lambda: few @ weights) + operations_of(lambda: many @ weights)
    seconds = {card: (reading.seconds(card, 0.5, 0.9), computing.seconds(card, 0.5, 0.9)) for card in CARDS}
    assert seconds[L4][0] / seconds[H100][0] == pytest.approx(H100.bandwidth / L4.bandwidth)
    assert seconds[L4][1] / seconds[H100][1] == pytest.approx(H100.float32 / L4.float32)
    half = replace(computing, dtype=torch.bfloat16)
    assert half.seconds(H100, 0.5, 0.9) < computing.seconds(H100, 0.5, 0.9) / 10


def test_threads_share_a_resource_and_not_their_waits() -> None:
    """Two on the host take twice as long as one, beside the device and beside time that just passes."""
    clock, ends = Clock(), {}

    def thread(name: str, *uses: Use) -> Thread:
        yield from uses
        ends[name] = clock.now

    clock.run(
        [
            thread("a", Use("host", 1.0)),
            thread("b", Use("host", 2.0), Use("device", 1.0)),
            thread("c", Use("device", 2.5)),
            thread("d", Use("clock", 0.5)),
        ]
    )
    assert ends == pytest.approx({"d": 0.5, "a": 2.0, "c": 2.5, "b": 4.0})


@pytest.mark.slow
def test_recorded_steps_are_those_of_the_ladder() -> None:
    """A block has the launches that are counted of it, whatever its shape; its rows are as many as there is memory for;
    one that is padded takes what a full one does."""
    costs = {card: Costs(STAGES, card, frozenset({"prefill", "llm", "flow", "vocoder"})) for card in (H100, L4)}
    small, large = (costs[H100]._block(BlockShape(rows, 64, 576, 64)) for rows in (1, 4))
    assert small.launches == large.launches
    assert small.launches == pytest.approx(block_launches(published_configs().flow, SHAPE).launches, rel=0.05)
    assert small.graph_seconds < large.graph_seconds < 4 * small.graph_seconds
    assert [costs[card].most_flow_rows(20) for card in (H100, L4)] == [4, 1]
    assert costs[H100].flow(10, 1) == costs[H100].flow(20, 1)
    assert costs[H100].flow(20, 3).device == pytest.approx(costs[H100].flow(20, 4).device, rel=0.05)
    assert costs[H100].decode(5) == costs[H100].decode(8)


def test_a_recorded_prompt_is_launched_at_once() -> None:
    """The host is free for others; the device takes as long."""
    recorded, launched = (Costs(STAGES, H100, frozenset(names)).prefill() for names in ({"prefill"}, set[Stage]()))
    assert recorded.host < 0.001 < 0.01 < launched.host
    assert recorded.device > launched.device


@pytest.mark.parametrize("tokens", [3, 20, 24, 25, 50, 54, 110, 140, 333])
def test_utterances_are_cut_as_the_engine_cuts_them(tokens: int) -> None:
    chunks = Chunker(ChunkSchedule()).remaining(tokens)
    assert chunk_sizes(tokens) == [chunk.end - chunk.start for chunk in chunks]


class ConstantCosts:
    """Steps that take the same on any number of rows."""

    most_window_rows = 16

    def most_flow_rows(self, _tokens: int) -> int:
        return 64

    def decode(self, _rows: int) -> Work:
        return Work(0.0, 0.001)

    def prefill(self) -> Work:
        return Work(0.01, 0.0)

    def flow(self, _tokens: int, _rows: int) -> Work:
        return Work(0.0, 0.02)

    def vocoder(self, _tokens: int, _rows: int) -> Work:
        return Work(0.0, 0.01)


def test_one_listener_hears_the_first_audio_after_its_own_steps() -> None:
    """The request, the prompt, 25 tokens, flow and vocoder, one after the other; while the device makes audio, tokens
    take longer. More listeners wait longer, and hear more in all."""
    alone, many = (predict(ConstantCosts(), listeners) for listeners in (1, 16))  # type: ignore[arg-type]
    assert alone.first_audio == pytest.approx(0.065 + 0.02 + 0.025 + 2 * 0.03, rel=0.02)
    assert many.first_audio > alone.first_audio
    assert many.audio_per_second > 3 * alone.audio_per_second
