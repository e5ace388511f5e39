"""Continuous batching of the flow, and its KV cache."""

from __future__ import annotations

from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn

from glmtts.config import DiTConfig, FlowConfig
from glmtts.models.flow.flow import Flow
from glmtts.models.flow.flow_batch import FlowBatcher, FlowSequence
from glmtts.models.flow.flow_cache import NO_CONTEXT, FlowKVCache, LeftContext, batch_past

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
def test_sequences_that_join_late_equal_each_alone(flow: Flow) -> None:
    """Three sequences of different lengths that start at different steps get the mel that each gets alone."""
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
def test_a_sequence_alone_equals_solve_exactly(flow: Flow) -> None:
    """One sequence by itself gets the exact numbers of `Flow.solve`."""
    rows, one = FlowBatcher(flow, "cpu"), arguments(25)
    row = rows.new_sequence(*one)
    while not rows.is_done(row):
        rows.step([row])
    tokens, condition, speaker, noise = (part[None] for part in one)
    assert torch.equal(row.x_tm, flow.solve(tokens, condition, speaker, noise)[0])


def test_a_failed_step_changes_nothing(flow: Flow) -> None:
    """After an exception the sequences are as they were, and can be tried again."""
    rows = FlowBatcher(flow, "cpu")
    row = rows.new_sequence(*arguments(12))
    before = row.x_tm.clone()
    with patch.object(flow, "velocity", side_effect=RuntimeError("broken")), pytest.raises(RuntimeError):
        rows.step([row])
    assert row.step == 0
    assert torch.equal(row.x_tm, before)


def run(rows: FlowBatcher, *sequences: FlowSequence) -> None:
    while not rows.is_done(sequences[0]):
        rows.step(sequences)


def context_of(rows: FlowBatcher, *frames: int) -> LeftContext:
    """The context after a voice of so many frames and chunks of so many; at most 40 frames of speech are kept."""
    before = NO_CONTEXT
    for place, count in enumerate(frames):
        row = rows.new_sequence(*arguments(count), cache_frames=range(count), context=before)
        run(rows, row)
        assert row.cache is not None
        before = LeftContext(row.cache, None, count) if place == 0 else before.extended(row.cache, count, 40)
    return before


@torch.inference_mode()
def test_a_context_equals_the_whole_whose_past_ignores_the_future() -> None:
    """If only attention connects frames, past and sequence equal the whole in which the past does not attend ahead."""
    torch.manual_seed(0)
    flow = Flow(FlowConfig(dit=DIT, n_timesteps=3)).eval()
    for module in flow.modules():
        if isinstance(module, nn.Conv1d):
            module.weight.zero_()
    past, new = 18, 11
    tokens, condition, speaker, noise = arguments(past + new)
    condition[past:] = 0.0
    mask = torch.ones(past + new, past + new, dtype=torch.bool)
    mask[:past, past:] = False
    whole = flow.solve(tokens[None], condition[None], speaker[None], noise[None], attention_bias_tt=mask)[0]
    rows = FlowBatcher(flow, "cpu")
    first = rows.new_sequence(tokens[:past], condition[:past], speaker, noise[:past], cache_frames=range(past))
    run(rows, first)
    second = rows.new_sequence(
        tokens, condition[past:], speaker, noise[past:],
        context=LeftContext(first.cache, None, past), positions_t=torch.arange(past + new),
    )  # fmt: skip
    run(rows, second)
    torch.testing.assert_close(torch.cat([first.x_tm, second.x_tm]), whole, rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_sequences_with_different_contexts_equal_each_alone(flow: Flow) -> None:
    """In one batch: a sequence after a voice, one after a voice and speech, one without context; all are cached."""
    rows = FlowBatcher(flow, "cpu")
    pasts = [context_of(rows, 21), context_of(rows, 34, 25, 30), NO_CONTEXT]
    given = [arguments(frames) for frames in (15, 22, 28)]

    def begin(i: int) -> FlowSequence:
        tokens, condition, speaker, noise = given[i]
        places = torch.arange(len(tokens)) + pasts[i].frames
        return rows.new_sequence(
            tokens, condition, speaker, noise, context=pasts[i], positions_t=places, cache_frames=range(3, 9)
        )

    together, alone = [begin(i) for i in range(3)], [begin(i) for i in range(3)]
    run(rows, *together)
    for one, other in zip(together, alone, strict=True):
        run(rows, other)
        torch.testing.assert_close(one.x_tm, other.x_tm, rtol=1e-4, atol=1e-4)
        assert one.cache is not None
        assert other.cache is not None
        torch.testing.assert_close(one.cache.keys, other.cache.keys, rtol=1e-3, atol=1e-3)
    apart = rows.new_sequence(*given[0], positions_t=torch.arange(15) + 21)
    run(rows, apart)
    assert (apart.x_tm - together[0].x_tm).abs().max() > 1e-3, "the context must matter, or this test proves nothing"


def test_a_context_keeps_the_voice_and_the_last_frames_of_speech(flow: Flow) -> None:
    """The voice's frames stay, and `max_frames` of the speech; the hidden states are of the very last frames."""
    before = context_of(FlowBatcher(flow, "cpu"), 20, 30, 25)
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


def test_hidden_states_span_voice_and_speech(flow: Flow) -> None:
    """If the speech is shorter than the position embedding's reach, the voice's last hidden states come before it."""
    rows = FlowBatcher(flow, "cpu")
    short, none = context_of(rows, 34, 5), NO_CONTEXT
    assert short.voice is not None
    assert short.speech is not None
    past = batch_past([short], [1], torch.device("cpu"))
    assert past is not None
    expected = torch.cat([short.voice.hidden[1][:, 5:], short.speech.hidden[1]], dim=1)
    assert torch.equal(past.hidden_bnd, expected)
    both = batch_past([none, short], [0, 1], torch.device("cpu"))
    assert both is not None
    assert both.valid_bp is not None
    assert both.offset_b.tolist() == [0, 39] * flow.cfg_batch
    assert both.valid_bp.sum(1).tolist() == [0, 39] * flow.cfg_batch
    assert both.hidden_valid_bn.sum(1).tolist() == [0, 30] * flow.cfg_batch
    assert batch_past([none], [0], torch.device("cpu")) is None
