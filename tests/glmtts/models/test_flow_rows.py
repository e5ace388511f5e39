"""Rows of the flow at solver steps of their own."""

from __future__ import annotations

from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from glmtts.config import DiTConfig, FlowConfig
from glmtts.models.flow import Flow
from glmtts.models.flow_rows import FlowRow, FlowRows

DIT = DiTConfig(
    trans_dim=32, depth=2, heads=2, dim_head=16, ff_mult=2, text_emb_dim=16, conv_layers=1, text_vocab_size=40
)


@pytest.fixture(params=[True, False], ids=["token guidance", "plain"])
def flow(request: pytest.FixtureRequest) -> Flow:
    torch.manual_seed(0)
    return Flow(FlowConfig(dit=DIT, n_timesteps=4, speech_token_cfg=request.param)).eval()


def arguments(frames: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    condition = torch.randn(frames, 80)
    condition[frames // 2 :] = 0.0
    return torch.randint(1, 40, (frames,)), condition, torch.randn(192), torch.randn(frames, 80)


@torch.inference_mode()
def test_rows_that_join_late_are_what_each_is_alone(flow: Flow) -> None:
    """Three rows of different lengths that begin at different steps end with the mel that each alone has."""
    rows = FlowRows(flow, "cpu")
    given = [arguments(frames) for frames in (20, 33, 27)]
    begun: list[FlowRow] = []
    for one in given:
        begun.append(rows.begin(*one))
        rows.advance(begun)
    while active := [row for row in begun if not rows.done(row)]:
        rows.advance(active)
    for row, one in zip(begun, given, strict=True):
        assert row.step == 4
        tokens, condition, speaker, noise = (part[None] for part in one)
        torch.testing.assert_close(row.x_tm, flow.solve(tokens, condition, speaker, noise)[0], rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_a_row_alone_is_exactly_the_whole(flow: Flow) -> None:
    """One row by itself has the very numbers of `Flow.solve`."""
    rows, one = FlowRows(flow, "cpu"), arguments(25)
    row = rows.begin(*one)
    while not rows.done(row):
        rows.advance([row])
    tokens, condition, speaker, noise = (part[None] for part in one)
    assert torch.equal(row.x_tm, flow.solve(tokens, condition, speaker, noise)[0])


def test_a_step_that_fails_moves_nobody(flow: Flow) -> None:
    """After an exception the rows are as they were, and may be tried again."""
    rows = FlowRows(flow, "cpu")
    row = rows.begin(*arguments(12))
    before = row.x_tm.clone()
    with patch.object(flow, "velocity", side_effect=RuntimeError("broken")), pytest.raises(RuntimeError):
        rows.advance([row])
    assert row.step == 0
    assert torch.equal(row.x_tm, before)
