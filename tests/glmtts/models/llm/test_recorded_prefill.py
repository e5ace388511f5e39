"""Chunks of prompts of fixed shapes write what the prompt alone does, into any slot, whatever was in memory before."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from glmtts.config import GenerationConfig
from glmtts.models.graphs import RecordedSteps
from glmtts.models.llm.decoder import PREFILL_CHUNK, Decoder, DecodeRequest
from glmtts.models.llm.kv_cache import KVCache
from glmtts.models.llm.llama import Llama
from glmtts.models.llm.prompt import LengthBounds, SpecialIds
from glmtts.models.llm.recorded_prefill import PrefillShape, RecordedPrefill
from tests.helpers.tape import TapeRecorder
from tests.helpers.tiny_llama import tiny_llama

SPECIAL = SpecialIds(ats=20, ate=55, boa=10, eoa=11, pad=12)
SLOTS, LENGTH = 3, 1024
SHAPES = {PrefillShape(ids, length) for ids in (32, 64, 128) for length in (256, 512, 1024)}
SPOILT = 1 << 40
"""An index that no table has."""


@pytest.fixture(params=[1, 2, 4], ids=lambda kv_heads: f"kv{kv_heads}")
def llama(request: pytest.FixtureRequest) -> Llama:
    llama = tiny_llama(num_key_value_heads=request.param, max_position_embeddings=LENGTH)
    llama.fuse()
    return llama


def decoder(llama: Llama, *, recorded: bool, fixed_shape: bool = False, length: int = LENGTH) -> Decoder:
    """Its slots are reset, then filled with finite garbage, so that a stale read shows."""
    recorder = TapeRecorder() if recorded else None
    made = Decoder(
        llama, SPECIAL, GenerationConfig(), KVCache(llama.config, SLOTS, length), fixed_shape=fixed_shape,
        steps=RecordedSteps(None), prefill_steps=RecordedSteps(recorder),
    )  # fmt: skip
    for shape in made.recorded_prefill.shapes if recorded else ():
        made.record_prefill(shape)
    draw = torch.Generator().manual_seed(1)
    made.cache.kv.copy_(torch.randn(made.cache.kv.shape, generator=draw) * 1e4)
    made.recorded_prefill._inputs.fill_(SPOILT)
    return made


def row(seed: int, ids: int, steps: int = 20) -> DecodeRequest:
    """It goes on for so many steps."""
    draw = torch.Generator().manual_seed(seed)
    return DecodeRequest(tuple(torch.randint(0, 60, (ids,), generator=draw).tolist()), LengthBounds(steps, steps), seed)


def fed(decoder: Decoder, slot: int, request: DecodeRequest) -> Tensor:
    """Feeds the prompt; the keys and values that it has left."""
    end = len(request.ids) - 1
    for start in range(0, end, PREFILL_CHUNK):
        decoder.prefill(slot, request, start, PREFILL_CHUNK)
    return decoder.cache.kv[slot, :, :, :end]


def close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("fixed_shape", [False, True])
def test_padded_chunks_equal_the_prompt_alone(llama: Llama, fixed_shape: bool) -> None:
    """Keys, values and the next logits to 1e-5: shorter than a shape, as long, in several chunks; no slot but its own
    is written."""
    padded, plain = (decoder(llama, recorded=recorded, fixed_shape=fixed_shape) for recorded in (True, False))
    for slot, ids in enumerate((2, 129, 400)):
        before = padded.cache.kv.clone()
        request = row(slot, ids)
        close(fed(padded, slot, request), fed(plain, slot, request))
        others = [other for other in range(SLOTS) if other != slot]
        assert torch.equal(padded.cache.kv[others], before[others])
        for either in (padded, plain):
            either.activate(slot, request)
    close(padded.logits(), plain.logits())
    steps = padded.recorded_prefill.steps
    assert (steps.replays, steps.plain) == (1 + 1 + 4, 0)


def test_rows_draw_what_they_do_without_recordings() -> None:
    """While others decode, in a slot that another row has left, past what the padding wrote behind the prompt."""
    llama = tiny_llama(max_position_embeddings=LENGTH)
    draws = []
    for recorded in (True, False):
        one = decoder(llama, recorded=recorded)
        one.add(0, row(1, 40), chunk=128)
        first = [one.step() for _ in range(5)]
        one.reserve(2, row(2, 300))
        for start in (0, 128, 256):
            one.prefill(2, row(2, 300), start, 128)
            first.append(one.step())
        one.activate(2, row(2, 300))
        first += [one.step() for _ in range(15)]
        one.add(0, row(3, 33, 90), chunk=128)  # its chunk of 32 ids needs no padding
        draws.append(torch.stack(first + [one.step() for _ in range(90)]))
    assert torch.equal(*draws)
    assert (draws[0][:, 2] >= 0).sum() == 20


@torch.inference_mode()
def test_a_chunk_with_a_nan_harms_no_other_slot() -> None:
    """Nor the next prompt in its own slot, once that is reset."""
    llama = tiny_llama(max_position_embeddings=LENGTH)
    padded, plain = (decoder(llama, recorded=recorded) for recorded in (True, False))
    sick = row(1, 200)
    padded.cache.kv[0].fill_(float("nan"))
    fed(padded, 0, sick)
    padded.reserve(0, sick)
    for slot in (0, 1):
        close(fed(padded, slot, row(2, 200)), fed(plain, slot, row(2, 200)))


def test_the_smallest_recorded_shape_is_taken() -> None:
    """One that was not recorded, too many ids, a chunk that its padding would carry past the slot's end: none."""
    llama = tiny_llama()
    prefill = RecordedPrefill(llama, KVCache(llama.config, 1, LENGTH), 12, SHAPES, RecordedSteps(TapeRecorder()))
    assert prefill.shape_for(0, 5) is None
    prefill.record(PrefillShape(64, 512))
    assert prefill.shape_for(0, 5) == (64, 512)
    prefill.record(PrefillShape(32, 256))
    assert prefill.shape_for(0, 5) == (32, 256)
    assert prefill.shape_for(224, 32) == (32, 256)
    assert prefill.shape_for(225, 32) == (64, 512)
    assert prefill.shape_for(0, 65) is None
    assert prefill.shape_for(480, 33) is None
    for shape in SHAPES:
        prefill.record(shape)
    assert prefill.shape_for(896, 100) == (128, 1024)
    assert prefill.shape_for(900, 100) is None


@torch.inference_mode()
def test_what_no_shape_holds_runs_plainly_and_is_counted() -> None:
    """More ids at once than the largest shape has, and at the end of a slot; with the same result."""
    llama = tiny_llama(max_position_embeddings=200)
    padded, plain = (decoder(llama, recorded=recorded, length=200) for recorded in (True, False))
    request = row(1, 195, 5)
    for start, count in ((0, 130), (130, 64)):
        for either in (padded, plain):
            either.prefill(1, request, start, count)
    close(padded.cache.kv[1, :, :, :194], plain.cache.kv[1, :, :, :194])
    steps = padded.recorded_prefill.steps
    assert (steps.replays, steps.plain) == (1, 1)
    padded.prefill(1, request, 190, 64)
    assert (steps.replays, steps.plain) == (1, 2)
    assert plain.recorded_prefill.steps.plain == 0
