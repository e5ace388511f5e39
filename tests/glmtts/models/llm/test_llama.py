"""The AR transformer over whole sequences: what training and parity need."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from glmtts.errors import CheckpointError
from glmtts.models.llm.llama import Llama
from glmtts.models.llm.prompt import SpecialIds, prompt_layout
from glmtts.models.llm.rotary import rope_theta
from tests.helpers.golden import load_case
from tests.helpers.tiny_llama import tiny_config, tiny_llama

SHAPES: list[dict[str, Any]] = [
    {"num_key_value_heads": 4},
    {"num_key_value_heads": 1, "rope_theta": 500.0},
    {"tie_word_embeddings": True},
    {"attention_bias": True, "mlp_bias": True, "head_dim": 12, "num_hidden_layers": 3},
]


@pytest.mark.parametrize("changes", SHAPES, ids=lambda changes: "-".join(changes))
def test_equals_transformers(changes: dict[str, Any]) -> None:
    """Logits and attention weights are those of transformers' LlamaForCausalLM with the same state dict."""
    torch.manual_seed(1)
    config = tiny_config(initializer_range=0.2, attn_implementation="eager", **changes)
    theirs = LlamaForCausalLM(config).eval()
    ours = Llama(config)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    ids = torch.randint(0, config.vocab_size, (3, 17))
    with torch.no_grad():
        expected = theirs(ids, output_attentions=True)
        got = ours(ids, attention_of=(0, 1))
        fast = ours(ids).logits
    torch.testing.assert_close(got.logits, expected.logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(fast, expected.logits, atol=1e-5, rtol=1e-5)
    for layer in (0, 1):
        torch.testing.assert_close(got.attention[layer], expected.attentions[layer], atol=1e-5, rtol=1e-5)


def test_golden_first_logits() -> None:
    """The logits after each golden prompt are the published ones."""
    info, tensors, state = load_case("llm_greedy")
    llama = Llama(LlamaConfig(**info["config"]))
    llama.load_state_dict(state, strict=True)
    special = SpecialIds(**info["special"])
    for index in range(len(info["cases"])):
        parts = [tensors[f"case{index}.{name}"][0].tolist() for name in ("prompt_text", "text", "prompt_speech")]
        with torch.no_grad():
            logits = llama(torch.tensor([prompt_layout(*parts, special)])).logits[:, -1]
        torch.testing.assert_close(logits, tensors[f"case{index}.first_logits"], atol=2e-4, rtol=0)


def test_a_later_id_changes_no_earlier_output() -> None:
    """Attention is causal, on the fast path and on the one that returns its weights."""
    llama = tiny_llama()
    ids = torch.randint(0, 60, (2, 9))
    other = torch.cat([ids[:, :-1], (ids[:, -1:] + 1) % 60], dim=1)
    for layers in ((), (0, 1)):
        with torch.no_grad():
            one, two = llama(ids, attention_of=layers).logits, llama(other, attention_of=layers).logits
        assert torch.equal(one[:, :-1], two[:, :-1])
        assert not torch.allclose(one[:, -1], two[:, -1])


def test_a_long_sequence_after_a_short_one() -> None:
    """A sequence of any length, after any other, gives what a new model gives."""
    ids = torch.randint(0, 60, (1, 700))
    used, fresh = tiny_llama(num_hidden_layers=1), tiny_llama(num_hidden_layers=1)
    with torch.no_grad():
        used(ids[:, :5])
        assert torch.equal(used(ids).logits, fresh(ids).logits)


def test_padding_is_invisible_and_its_gradient_finite() -> None:
    """What is in padding, left or right, affects no valid output, and no gradient becomes NaN."""
    llama = tiny_llama()
    valid = torch.tensor([[False, False, True, True, True, True], [True, True, True, True, False, False]])
    ids = torch.randint(0, 60, valid.shape)
    other = torch.where(valid, ids, (ids + 7) % 60)
    for layers in ((), (0, 1)):
        out = llama(ids, valid, attention_of=layers)
        torch.testing.assert_close(out.logits[valid], llama(other, valid, attention_of=layers).logits[valid])
        llama.zero_grad()
        out.logits[valid].logsumexp(-1).sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in llama.parameters())


def test_right_padding_needs_no_mask() -> None:
    """With padding on the right only, valid outputs are the same with and without the mask."""
    llama = tiny_llama()
    valid = torch.arange(8) < torch.tensor([[5], [8]])
    ids = torch.randint(0, 60, valid.shape)
    torch.testing.assert_close(llama(ids).logits[valid], llama(ids, valid).logits[valid], atol=1e-5, rtol=1e-5)


def test_attention_weights_can_be_trained_on() -> None:
    """Attention weights are float32 and causal, sum to 1, have a gradient, and do not change the logits."""
    llama = tiny_llama(num_hidden_layers=3)
    ids = torch.randint(0, 60, (2, 7))
    out = llama(ids, attention_of=(1, 2))
    assert set(out.attention) == {1, 2}
    torch.testing.assert_close(out.logits, llama(ids).logits, atol=1e-5, rtol=1e-5)
    for probs in out.attention.values():
        assert probs.shape == (2, 4, 7, 7)
        assert probs.dtype == torch.float32
        torch.testing.assert_close(probs.sum(-1), torch.ones(2, 4, 7))
        assert probs.triu(1).abs().max() == 0
    out.attention[1][:, :2, :, 0].sum().backward()
    assert llama.model.decoder_layers()[1].self_attn.k_proj.weight.grad.abs().max() > 0
    assert llama.model.decoder_layers()[2].self_attn.k_proj.weight.grad is None


def test_trains_after_an_inference_pass_and_under_autocast() -> None:
    """An inference pass between two training steps does not disturb the backward pass; bf16 works."""
    llama = tiny_llama()
    ids = torch.randint(0, 60, (2, 7))
    with torch.inference_mode():
        llama(ids)
    with torch.autocast("cpu", torch.bfloat16):
        out = llama(ids, attention_of=(0,))
    out.logits.float().logsumexp(-1).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in llama.parameters())


@pytest.mark.parametrize("changes", SHAPES, ids=lambda changes: "-".join(changes))
def test_fusing_changes_no_number_no_name_and_no_memory(changes: dict[str, Any]) -> None:
    """After `fuse` outputs and state dict are the same, and the parameters are views of the merged matrices."""
    llama = tiny_llama(**changes)
    ids = torch.randint(0, 60, (2, 5))
    before = {name: value.clone() for name, value in llama.state_dict().items()}
    with torch.inference_mode():
        expected = llama(ids).logits
        llama.fuse()
        torch.testing.assert_close(llama(ids).logits, expected, atol=1e-5, rtol=1e-5)
    after = llama.state_dict()
    assert set(after) == set(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    attention = llama.model.decoder_layers()[0].self_attn
    storages = {part.weight.untyped_storage().data_ptr() for part in (attention.q_proj, attention.k_proj)}
    assert len(storages) == 1


def test_rope_theta_is_found_in_either_form() -> None:
    """The rotary base is read from `rope_parameters` or `rope_theta`; 10000 if there is neither."""
    assert rope_theta(tiny_config(rope_parameters={"rope_type": "default", "rope_theta": 7.0})) == 7.0
    assert rope_theta(tiny_config(rope_theta=5000.0)) == 5000.0
    assert rope_theta(SimpleNamespace(rope_theta=123.0, rope_scaling=None)) == 123.0  # type: ignore[arg-type]
    assert rope_theta(SimpleNamespace()) == 10000.0  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}},
        {"hidden_act": "gelu"},
    ],
    ids=["scaled rope", "another activation"],
)
def test_what_is_not_computed_is_refused(changes: dict[str, Any]) -> None:
    """A config that needs something not implemented is a CheckpointError, not a wrong model."""
    with pytest.raises(CheckpointError, match="expected"):
        Llama(tiny_config(**changes))
