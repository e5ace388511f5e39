"""Layers in int8 compute about what they were quantised from, in a fraction of the memory."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from glmtts.models.llm.int8 import PACKED_ROWS, Int8Linear, int8_bytes
from glmtts.models.llm.kv_cache import KVCache
from tests.helpers.tiny_llama import tiny_llama


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, PACKED_ROWS, PACKED_ROWS + 1])
@torch.inference_mode()
def test_a_row_is_off_by_a_share_of_its_channel_s_largest_weight(dtype: torch.dtype, rows: int) -> None:
    """Each weight by half a step at most, whatever the other channels are; by either way of multiplying."""
    torch.manual_seed(0)
    layers = [nn.Linear(64, 32, bias=bias).to(dtype) for bias in (True, True)]
    layers[1].weight[3] *= 1000
    x = torch.randn(2, rows, 64, dtype=dtype)
    expected = torch.cat([layer(x) for layer in layers], dim=-1).float()
    largest = torch.cat([layer.weight.float().abs().amax(1) for layer in layers])
    bound = x.float().abs().sum(-1, keepdim=True) * largest / 127 / 2
    rounding = 0.02 if dtype == torch.bfloat16 else 1e-5
    actual = Int8Linear.of(*layers)(x)
    assert actual.dtype == dtype
    assert bool(((actual.float() - expected).abs() <= bound + rounding * (1 + expected.abs() + bound)).all())


@torch.inference_mode()
def test_a_quantised_model_scores_about_the_same_with_and_without_a_cache() -> None:
    """The divergence of the next id's distribution is small; layers take a byte a weight, and a scale a channel."""
    llama = tiny_llama()
    ids = torch.arange(12)[None]
    before = llama(ids).logits.log_softmax(-1)
    llama.fuse()
    numbers = sum(parameter.numel() for parameter in llama.parameters())
    llama.quantise()
    after = llama(ids).logits.log_softmax(-1)
    assert 0 < float((before.exp() * (before - after)).sum(-1).mean()) < 0.01
    cache = KVCache(llama.config, 1, 16)
    hidden = llama.forward_cached(ids, torch.zeros(1, dtype=torch.int64), cache, length=16)
    torch.testing.assert_close(llama.lm_head(hidden).log_softmax(-1), after, atol=1e-3, rtol=1e-3)
    tensors = {tensor.data_ptr(): tensor for tensor in (*llama.parameters(), *llama.buffers())}
    scales = sum(t.nbytes for module in llama.modules() if isinstance(module, Int8Linear) for t in [module.scale])
    assert sum(t.nbytes for t in tensors.values()) - scales == pytest.approx(
        int8_bytes(llama.config, numbers, torch.float32), rel=0.02
    )
