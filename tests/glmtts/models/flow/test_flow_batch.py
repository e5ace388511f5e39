"""Rows of the flow at solver steps of their own."""

from __future__ import annotations

from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn

from glmtts.config import DiTConfig, FlowConfig
from glmtts.models.flow.flow import Flow
from glmtts.models.flow.flow_batch import FlowBatcher, FlowSequence
from glmtts.models.flow.flow_cache import NO_CONTEXT, FlowKVCache, LeftContext

DIT = DiTConfig(
    trans_dim=32, depth=2, heads=2, dim_head=16, ff_mult=2, text_emb_dim=16, conv_layers=1, text_vocab_size=40
)


@pytest.fixture(params=[(True, 0.7), (False, 0.7), (False, 0.0)], ids=["token guidance", "plain", "no guidance"])
def flow(request: pytest.FixtureRequest) -> Flow:
    torch.manual_seed(0)
    token_cfg, rate = request.param
    return Flow(FlowConfig(dit=DIT, n_timesteps=4, speech_token_cfg=token_cfg, inference_cfg_rate=rate)).eval()


def arguments(frames: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    condition = torch.randn(frames, 80)
    condition[frames // 2 :] = 0.0
    return torch.randint(1, 40, (frames,)), condition, torch.randn(192), torch.randn(frames, 80)


@torch.inference_mode()
def test_rows_that_join_late_are_what_each_is_alone(flow: Flow) -> None:
    """Three rows of different lengths that begin at different steps end with the mel that each alone has."""
    rows = FlowBatcher(flow, "cpu")
    given = [arguments(frames) for frames in (20, 33, 27)]
    begun: list[FlowSequence] = []
    for one in given:
        begun.append(rows.new_sequence(*one))
        rows.step(begun)
    while active := [row for row in begun if not rows.is_done(row)]:
        rows.step(active)
    for row, one in zip(begun, given, strict=True):
        assert row.step == 4
        tokens, condition, speaker, noise = (part[None] for part in one)
        torch.testing.assert_close(row.x_tm, flow.solve(tokens, condition, speaker, noise)[0], rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_a_row_alone_is_exactly_the_whole(flow: Flow) -> None:
    """One row by itself has the very numbers of `Flow.solve`."""
    rows, one = FlowBatcher(flow, "cpu"), arguments(25)
    row = rows.new_sequence(*one)
    while not rows.is_done(row):
        rows.step([row])
    tokens, condition, speaker, noise = (part[None] for part in one)
    assert torch.equal(row.x_tm, flow.solve(tokens, condition, speaker, noise)[0])


def test_a_step_that_fails_moves_nobody(flow: Flow) -> None:
    """After an exception the rows are as they were, and may be tried again."""
    rows = FlowBatcher(flow, "cpu")
    row = rows.new_sequence(*arguments(12))
    before = row.x_tm.clone()
    with patch.object(flow, "velocity", side_effect=RuntimeError("broken")), pytest.raises(RuntimeError):
        rows.step([row])
    assert row.step == 0
    assert torch.equal(row.x_tm, before)


def finished(rows: FlowBatcher, *begun: FlowSequence) -> None:
    while not rows.is_done(begun[0]):
        rows.step(begun)


def remembered(rows: FlowBatcher, *frames: int) -> LeftContext:
    """A voice of so many frames, and after it segments of so many, that have been said."""
    before = NO_CONTEXT
    for place, count in enumerate(frames):
        row = rows.new_sequence(*arguments(count), cache_frames=range(count), context=before)
        finished(rows, row)
        assert row.cache is not None
        before = LeftContext(row.cache, None, count) if place == 0 else before.extended(row.cache, count, 40)
    return before


@torch.inference_mode()
def test_following_is_the_whole_with_the_past_blind_to_it() -> None:
    """Where only attention joins frames, a row that follows is the whole in which the past sees no future."""
    torch.manual_seed(0)
    flow = Flow(FlowConfig(dit=DIT, n_timesteps=3)).eval()
    for module in flow.modules():
        if isinstance(module, nn.Conv1d):
            module.weight.zero_()
    past, new = 18, 11
    tokens, condition, speaker, noise = arguments(past + new)
    condition[past:] = 0.0
    sees = torch.ones(past + new, past + new, dtype=torch.bool)
    sees[:past, past:] = False
    whole = flow.solve(tokens[None], condition[None], speaker[None], noise[None], attention_bias_tt=sees)[0]
    rows = FlowBatcher(flow, "cpu")
    first = rows.new_sequence(tokens[:past], condition[:past], speaker, noise[:past], cache_frames=range(past))
    finished(rows, first)
    second = rows.new_sequence(
        tokens, condition[past:], speaker, noise[past:],
        context=LeftContext(first.cache, None, past), positions_t=torch.arange(past + new),
    )  # fmt: skip
    finished(rows, second)
    torch.testing.assert_close(torch.cat([first.x_tm, second.x_tm]), whole, rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_rows_that_follow_different_pasts_are_what_each_is_alone(flow: Flow) -> None:
    """In one batch: a row after a voice, one after a voice and what was said, one that is being remembered."""
    rows = FlowBatcher(flow, "cpu")
    pasts = [remembered(rows, 21), remembered(rows, 34, 25, 30), NO_CONTEXT]
    given = [arguments(frames) for frames in (15, 22, 28)]

    def begin(i: int) -> FlowSequence:
        tokens, condition, speaker, noise = given[i]
        places = torch.arange(len(tokens)) + pasts[i].frames
        return rows.new_sequence(
            tokens, condition, speaker, noise, context=pasts[i], positions_t=places, cache_frames=range(3, 9)
        )

    together, alone = [begin(i) for i in range(3)], [begin(i) for i in range(3)]
    finished(rows, *together)
    for one, other in zip(together, alone, strict=True):
        finished(rows, other)
        torch.testing.assert_close(one.x_tm, other.x_tm, rtol=1e-4, atol=1e-4)
        assert one.cache is not None
        assert other.cache is not None
        torch.testing.assert_close(one.cache.keys, other.cache.keys, rtol=1e-3, atol=1e-3)
    apart = rows.new_sequence(*given[0], positions_t=torch.arange(15) + 21)
    finished(rows, apart)
    assert (apart.x_tm - together[0].x_tm).abs().max() > 1e-3, "the past must matter, or this test proves nothing"


def test_a_memory_keeps_the_voice_and_the_last_of_what_was_said(flow: Flow) -> None:
    """However much is said, the voice's frames stay and `most` of the others; the halo is of the very last frames."""
    before = remembered(FlowBatcher(flow, "cpu"), 20, 30, 25)
    assert before.voice is not None
    assert before.speech is not None
    assert (before.voice.frames, before.speech.frames, before.frames) == (20, 40, 75)
    assert before.speech.hidden.shape[2] == 30
    one, two = (
        FlowKVCache(keys, keys, torch.full((1, 2, 3, 1), value))
        for value in (1.0, 2.0)
        for keys in [torch.full((1, 1, 2, 1, 3, 1), value)]
    )
    assert one.append(two, 4).keys.flatten(0, 3)[0, :, 0].tolist() == [1.0, 2.0, 2.0, 2.0]
    assert one.append(two, 2).keys.flatten(0, 3)[0, :, 0].tolist() == [2.0, 2.0]
    assert one.append(two, 0).hidden[0, 0, :, 0].tolist() == [1.0, 1.0, 1.0, 2.0, 2.0, 2.0]
    assert one.nbytes == 4 * (6 + 6 + 6)
