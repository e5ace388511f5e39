"""Blocks of fixed shapes give each sequence what it gets alone, whatever is in the memory that they share."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from glmtts.config import DiTConfig, FlowConfig
from glmtts.models.flow.flow import Flow
from glmtts.models.flow.flow_batch import FlowBatcher, FlowSequence
from glmtts.models.flow.flow_block import BlockShape
from glmtts.models.flow.flow_blocks import FlowBlocks
from glmtts.models.flow.flow_cache import NO_CONTEXT, FlowKVCache, LeftContext
from glmtts.models.graphs import RecordedSteps
from tests.helpers.tape import TapeRecorder

CHUNKS = BlockShape(rows=4, frames=64, context=96, kept=40)
ONE_CHUNK = BlockShape(rows=1, frames=32, context=64, kept=40)
VOICE = BlockShape(rows=1, frames=64, context=0, kept=64)
WINDOW = 40
"""Frames of speech that a chunk attends to."""


def published_like() -> Flow:
    """Ten steps, guidance, the speaker in the norms; narrow."""
    dit = DiTConfig(
        trans_dim=64, depth=3, heads=4, dim_head=16, ff_mult=2, text_emb_dim=32, conv_layers=4, text_vocab_size=40,
        spkr_emb_adaLN=True,
    )  # fmt: skip
    return Flow(FlowConfig(dit=dit, n_timesteps=10, inference_cfg_rate=0.7))


def nano_size() -> Flow:
    """One step without guidance, as wide and deep as nano."""
    dit = DiTConfig(
        trans_dim=256, depth=8, heads=4, dim_head=64, ff_mult=2, text_emb_dim=256, conv_layers=4, text_vocab_size=40,
        spkr_emb_adaLN=True, time_dim=32,
    )  # fmt: skip
    return Flow(FlowConfig(dit=dit, n_timesteps=1, inference_cfg_rate=0.0))


def token_guided() -> Flow:
    """Without guidance's tokens, the speaker beside the condition."""
    dit = DiTConfig(
        trans_dim=32, depth=2, heads=2, dim_head=16, ff_mult=2, text_emb_dim=16, conv_layers=1, text_vocab_size=40,
        condition_dim=160,
    )  # fmt: skip
    config = FlowConfig(dit=dit, n_timesteps=3, speech_token_cfg=True, remove_spkr_concat_condition=False)
    return Flow(config)


@pytest.fixture(scope="module", params=[published_like, nano_size, token_guided])
def flow(request: pytest.FixtureRequest) -> Flow:
    torch.manual_seed(0)
    made: Flow = request.param()
    return made.eval().requires_grad_(False)


def blocks_of(flow: Flow, *shapes: BlockShape) -> FlowBlocks:
    blocks = FlowBlocks(flow, shapes, "cpu", RecordedSteps(TapeRecorder()))
    for shape in shapes:
        blocks.record(shape)
    return blocks


class Speech:
    """Makes the same sequences again and again."""

    def __init__(self, flow: Flow) -> None:
        self.batcher = FlowBatcher(flow, "cpu")

    def voice(self, frames: int, seed: int = 0) -> FlowSequence:
        draw = torch.Generator().manual_seed(seed)
        tokens = torch.randint(1, 40, (frames,), generator=draw)
        cond, noise = torch.randn(2, frames, 80, generator=draw)
        speaker = torch.randn(192, generator=draw)
        return self.batcher.new_sequence(tokens, cond, speaker, noise, cache_frames=range(frames))

    def chunk(self, frames: int, lookahead: int, before: LeftContext, seed: int = 0) -> FlowSequence:
        draw = torch.Generator().manual_seed(seed)
        context = before.cached_frames
        tokens = torch.randint(1, 40, (context + frames,), generator=draw)
        noise = torch.randn(frames, 80, generator=draw)
        end = frames - lookahead
        return self.batcher.new_sequence(
            tokens, torch.zeros(frames, 80), torch.randn(192, generator=draw), noise,
            context=before, positions_t=torch.arange(context + frames) + before.frames - context,
            cache_frames=range(max(0, end - WINDOW), end),
        )  # fmt: skip

    def plainly(self, sequence: FlowSequence) -> FlowSequence:
        """The sequence, solved alone and step by step."""
        while not self.batcher.is_done(sequence):
            self.batcher.step([sequence])
        return sequence

    def context(self, *frames: int) -> LeftContext:
        """The context after a voice and chunks of so many frames."""
        voice = self.plainly(self.voice(frames[0]))
        before = LeftContext(voice.cache, None, frames[0])
        for seed, count in enumerate(frames[1:]):
            cache = self.plainly(self.chunk(count, 0, before, seed)).cache
            assert cache is not None
            before = before.extended(cache, count, WINDOW)
        return before

    def some(self) -> list[FlowSequence]:
        """After a voice, after a voice and much speech, after nothing."""
        late = self.context(30, 50, 60)
        return [self.chunk(50, 10, self.context(21)), self.chunk(64, 10, late, 5), self.chunk(33, 4, NO_CONTEXT, 7)]


def assert_equal(one: FlowSequence, other: FlowSequence) -> None:
    assert one.step == other.step
    close(one.x_tm, other.x_tm)
    assert isinstance(one.cache, FlowKVCache)
    assert isinstance(other.cache, FlowKVCache)
    for name in ("keys", "values", "hidden"):
        close(getattr(one.cache, name), getattr(other.cache, name))


def close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def spoil(blocks: FlowBlocks) -> None:
    """Leaves in all shared memory what would be noticed if it was read."""
    for memory in blocks._memory._memory.values():
        memory.fill_(float("nan") if memory.is_floating_point() else 1 << 40)


@torch.inference_mode()
def test_a_padded_block_equals_each_sequence_alone(flow: Flow) -> None:
    """Mel and cache to 1e-5, after different contexts, in a batch with a free row."""
    speech, blocks = Speech(flow), blocks_of(flow, CHUNKS)
    spoil(blocks)
    sequences = speech.some()
    assert blocks.shape_for(sequences) == CHUNKS
    blocks.solve(sequences, CHUNKS)
    for sequence, alone in zip(sequences, speech.some(), strict=True):
        assert_equal(sequence, speech.plainly(alone))


@torch.inference_mode()
def test_a_voice_is_prefilled_by_a_block(flow: Flow) -> None:
    """Its condition counts, there is nothing before it, and all its frames are cached."""
    speech, blocks = Speech(flow), blocks_of(flow, CHUNKS, VOICE)
    spoil(blocks)
    voice = speech.voice(50)
    assert blocks.shape_for([voice]) == VOICE
    blocks.solve([voice], VOICE)
    assert_equal(voice, speech.plainly(speech.voice(50)))


@torch.inference_mode()
def test_successive_blocks_share_memory_and_no_numbers(flow: Flow) -> None:
    """Of different shapes, one with a NaN in it: each gets its own, and what the earlier ones gave stays as it was."""
    speech, blocks = Speech(flow), blocks_of(flow, ONE_CHUNK, CHUNKS, VOICE)
    first = speech.some()
    blocks.solve(first, CHUNKS)
    before = [sequence.x_tm.clone() for sequence in first]
    sick = speech.chunk(40, 4, speech.context(21))
    sick.x_tm = torch.full_like(sick.x_tm, float("nan"))
    blocks.solve([speech.chunk(22, 2, speech.context(25)), sick], CHUNKS)
    assert sick.x_tm.isnan().all()
    alone = speech.chunk(30, 4, speech.context(45), 3)
    blocks.solve([alone], ONE_CHUNK)
    again = [*speech.some(), speech.chunk(30, 4, speech.context(45), 3)]
    blocks.solve(again, CHUNKS)
    assert all(torch.equal(sequence.x_tm, x) for sequence, x in zip(first, before, strict=True))
    for sequence, other in zip(again, [*first, alone], strict=True):
        assert_equal(sequence, other)
    assert blocks.steps.replays == 4


@torch.inference_mode()
def test_the_smallest_recorded_block_is_taken() -> None:
    """One that was not recorded, a sequence that has begun, too many rows, frames or a longer context: none."""
    torch.manual_seed(0)
    flow = token_guided().eval().requires_grad_(False)
    speech = Speech(flow)
    blocks = FlowBlocks(flow, [CHUNKS, ONE_CHUNK, VOICE], "cpu", RecordedSteps(TapeRecorder()))
    chunk = speech.chunk(30, 4, speech.context(21))
    assert blocks.shape_for([chunk]) is None
    blocks.record(CHUNKS)
    assert blocks.shape_for([chunk]) == CHUNKS
    blocks.record(ONE_CHUNK)
    assert blocks.shape_for([chunk]) == ONE_CHUNK
    assert blocks.shape_for([chunk, chunk]) == CHUNKS
    assert blocks.shape_for([chunk] * 5) is None
    assert blocks.shape_for([speech.chunk(65, 4, speech.context(21))]) is None
    assert blocks.shape_for([speech.chunk(30, 4, speech.context(97))]) is None
    assert blocks.shape_for([speech.voice(60)]) is None
    speech.batcher.step([chunk])
    assert blocks.shape_for([chunk]) is None
