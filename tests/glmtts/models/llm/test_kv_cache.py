"""The cached pass equals the whole one, at any positions and beside any neighbours."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from glmtts.models.llm.kv_cache import KVCache
from glmtts.models.llm.llama import Llama
from tests.helpers.tiny_llama import tiny_llama

LENGTH = 24


def poisoned(llama: Llama, slots: int) -> KVCache:
    """A NaN cache with all slots reset, then filled with finite garbage, so that a stale read shows."""
    cache = KVCache(llama.config, slots, LENGTH)
    cache.fill_nan()
    for slot in range(slots):
        cache.reset_slot(slot)
    cache.kv.copy_(torch.randn_like(cache.kv) * 1e4)
    return cache


def ints(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.int64)


@pytest.fixture(params=[1, 2, 4], ids=lambda kv_heads: f"kv{kv_heads}")
def llama(request: pytest.FixtureRequest) -> Llama:
    return tiny_llama(num_key_value_heads=request.param)


@torch.inference_mode()
def whole(llama: Llama, ids: Tensor) -> Tensor:
    return llama(ids).hidden


@torch.inference_mode()
def test_cached_decode_equals_the_whole_pass(llama: Llama) -> None:
    """Prefill, then one id at a time, gives the hidden states of the whole sequence."""
    ids = torch.randint(0, 60, (3, 12))
    cache = poisoned(llama, 3)
    parts = [llama.forward_cached(ids[:, :5], ints(0, 0, 0), cache, length=5)]
    parts += [llama.forward_cached(ids[:, [at]], ints(at, at, at), cache, length=at + 1) for at in range(5, 12)]
    torch.testing.assert_close(torch.cat(parts, dim=1), whole(llama, ids), atol=1e-5, rtol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("chunk", [1, 3, 4, 11])
def test_a_prefill_in_chunks_equals_the_whole(llama: Llama, chunk: int) -> None:
    """However a prompt is split, its hidden states and cache entries are the same."""
    ids = torch.randint(0, 60, (1, 11))
    cut, one = poisoned(llama, 2), poisoned(llama, 2)
    row = slice(1, 2)
    expected = llama.forward_cached(ids, ints(0), one, length=11, rows=row)
    parts = [
        llama.forward_cached(piece, ints(start * chunk), cut, length=min(start * chunk + chunk, 11), rows=row)
        for start, piece in enumerate(ids.split(chunk, dim=1))
    ]
    torch.testing.assert_close(torch.cat(parts, dim=1), expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(cut.kv[1, :, :, :11], one.kv[1, :, :, :11], atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_rows_at_different_positions_equal_each_alone(llama: Llama) -> None:
    """One step of rows at different positions gives each what it gets alone, and writes only there."""
    lengths = [3, 9, 6]
    prompts = [torch.randint(0, 60, (1, n)) for n in lengths]
    cache = poisoned(llama, 3)
    for slot, prompt in enumerate(prompts):
        llama.forward_cached(prompt[:, :-1], ints(0), cache, length=LENGTH, rows=slice(slot, slot + 1))
    before = cache.kv.clone()
    at = ints(*lengths) - 1
    got = llama.forward_cached(torch.cat([p[:, -1:] for p in prompts]), at, cache, length=LENGTH)
    for slot, prompt in enumerate(prompts):
        torch.testing.assert_close(got[slot], whole(llama, prompt)[0, -1:], atol=1e-5, rtol=1e-4)
    changed = (cache.kv != before).any(dim=(1, 2, 4))
    assert changed.nonzero().tolist() == [[slot, n - 1] for slot, n in enumerate(lengths)]


@torch.inference_mode()
def test_a_prefill_padded_on_the_right_equals_each_alone(llama: Llama) -> None:
    """Rows of different lengths prefill together: what padding wrote is overwritten before it is read."""
    lengths = [4, 7]
    ids = torch.randint(0, 60, (2, 8))
    cache = poisoned(llama, 2)
    got = llama.forward_cached(ids[:, :7], ints(0, 0), cache, length=7)
    step = llama.forward_cached(ids[:, 7:], ints(*lengths), cache, length=8)
    for row, n in enumerate(lengths):
        alone = torch.cat([ids[[row], :n], ids[[row], 7:]], dim=1)
        torch.testing.assert_close(got[row, :n], whole(llama, alone)[0, :n], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(step[row, 0], whole(llama, alone)[0, n], atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_a_row_of_nan_does_not_affect_others(llama: Llama) -> None:
    """Neither its neighbours nor a row that later takes its slot."""
    ids = torch.randint(0, 60, (2, 6))
    cache = poisoned(llama, 2)
    cache.kv[0] = float("nan")
    got = llama.forward_cached(ids, ints(0, 0), cache, length=LENGTH)
    assert got[0].isnan().any(), "the poison must be in reach, or this test proves nothing"
    torch.testing.assert_close(got[1], whole(llama, ids)[1], atol=1e-5, rtol=1e-4)
    cache.reset_slot(0)
    got = llama.forward_cached(ids, ints(0, 0), cache, length=LENGTH)
    torch.testing.assert_close(got, whole(llama, ids), atol=1e-5, rtol=1e-4)


def test_reset_slot_zeroes_one_slot_only() -> None:
    """A reset slot is all zeros; the others keep their contents."""
    cache = KVCache(tiny_llama().config, 3, LENGTH)
    cache.fill_nan()
    cache.reset_slot(1)
    assert cache.kv[1].abs().max() == 0
    assert cache.kv[[0, 2]].isnan().all()


def test_reads_are_views_in_the_cache_dtype() -> None:
    """Keys and values come back as written, without a copy, in the cache's dtype."""
    config = tiny_llama().config
    cache = KVCache(config, 2, LENGTH, dtype=torch.bfloat16)
    written = torch.arange(2 * 3 * 4 * 8).view(2, 3, 4, 8).bfloat16()
    cache.write(1, slice(0, 2), torch.tensor([[0, 1, 2], [5, 6, 7]]), written)
    k, v = cache.read(1, slice(0, 2), 8)
    assert k.dtype == torch.bfloat16
    assert k.untyped_storage().data_ptr() == v.untyped_storage().data_ptr() == cache.kv.untyped_storage().data_ptr()
    assert torch.equal(k[1, :, 5:8], written[1, :, :2].transpose(0, 1))
    assert torch.equal(v[0, :, :3], written[0, :, 2:].transpose(0, 1))
