from __future__ import annotations

from typing import Any

import pytest
import torch

from glmtts.errors import CheckpointError
from glmtts.models.encoders.speech_tokenizer import WhisperVQ, WhisperVQConfig, encoder_weights
from tests.helpers.golden import golden_dir, load_case

CASES = sorted(path.stem for path in golden_dir().glob("speech_tokenizer_*.json"))
TINY: dict[str, Any] = {
    "d_model": 8,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 16,
    "num_mel_bins": 5,
    "max_source_positions": 200,
    "quantize_vocab_size": 11,
    "quantize_position": 3,
    "pooling_position": 2,
    "pooling_kernel_size": 2,
    "pooling_type": "avg",
}


def tiny(**changes: Any) -> WhisperVQ:
    torch.manual_seed(0)
    return WhisperVQ(WhisperVQConfig.from_hf({**TINY, **changes})).eval()


@pytest.mark.parametrize("case", CASES)
def test_golden(case: str) -> None:
    """Tokens and their mask equal the published ones where the mask is 1."""
    info, tensors, state = load_case(case)
    model = WhisperVQ(WhisperVQConfig.from_hf(info["config"]))
    model.load_state_dict(encoder_weights(state, model.config))
    tokens, mask = model.encode(tensors["input_features"], tensors["attention_mask"])
    expected = tensors["token_mask"].bool()
    assert torch.equal(mask, expected)
    assert torch.equal(tokens[mask], tensors["tokens"][expected])


@pytest.mark.parametrize(
    "options", [{}, {"encoder_causal_attention": True}, {"quantize_causal_block_size": 4, "pooling_type": "max"}]
)
def test_a_padded_row_equals_the_row_alone(options: dict[str, Any]) -> None:
    """What is beyond the mask changes no vector before it, except within the convolution's reach."""
    model = tiny(encoder_causal_convolution=True, **options)
    features = torch.randn(1, 5, 40)
    mask = torch.ones(1, 40, dtype=torch.long)
    alone = model.hidden(features, mask)
    padded = model.hidden(torch.cat([features, torch.randn(1, 5, 24)], -1), torch.nn.functional.pad(mask, (0, 24)))
    torch.testing.assert_close(padded[:, :10], alone)


@pytest.mark.parametrize(("options", "first_change"), [({}, 0), ({"encoder_causal_attention": True}, 10)])
def test_causal_attention_ignores_later_frames(options: dict[str, Any], first_change: int) -> None:
    """With causal convolutions and attention, a token depends on nothing after it; without, on everything."""
    model = tiny(encoder_causal_convolution=True, **options)
    features = torch.randn(1, 5, 64)
    mask = torch.ones(1, 64, dtype=torch.long)
    before = model.hidden(features, mask)
    features[:, :, 40:] += 1
    changed = (model.hidden(features, mask) - before).abs().amax(-1)[0] > 1e-6
    assert changed.nonzero()[0].item() == first_change


def test_block_causal_attention_sees_its_own_block() -> None:
    """A change in the second block affects no token of the first, and all of its own."""
    model = tiny(encoder_causal_convolution=True, quantize_causal_block_size=16)
    features = torch.randn(1, 5, 64)
    mask = torch.ones(1, 64, dtype=torch.long)
    before = model.hidden(features, mask)
    features[:, :, 60:] += 1
    changed = (model.hidden(features, mask) - before).abs().amax(-1)[0] > 1e-6
    assert changed.tolist() == [False] * 8 + [True] * 8


def test_hidden_is_differentiable() -> None:
    """A loss on `hidden` reaches the first convolution and all layers."""
    model = tiny()
    model.hidden(torch.randn(2, 5, 16), torch.ones(2, 16, dtype=torch.long)).square().sum().backward()
    without = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum()}
    # A key bias would cancel in the softmax; Whisper has none.
    assert without == {"codebook.weight", "embed_positions2.weight"}


def test_published_checkpoint_loads_strictly() -> None:
    """Names under `model.encoder.` load; decoder, moving averages, later layers and final norm are dropped."""
    source = tiny()
    state = {f"model.encoder.{name}": value for name, value in source.state_dict().items()}
    for unused in ("model.decoder.layers.0.fc1.weight", "model.encoder.layers.3.fc1.weight"):
        state[unused] = torch.zeros(1)
    for unused in ("ema_count", "ema_weight", "layer_norm.weight", "layer_norm.bias"):
        state[f"model.encoder.{unused}"] = torch.zeros(1)
    model = tiny()
    torch.nn.init.zeros_(model.conv1.weight)
    model.load_state_dict(encoder_weights(state, model.config))
    assert torch.equal(model.conv1.weight, source.conv1.weight)


@pytest.mark.parametrize("name", ["model.encoder.surprise", "proj_out.weight"])
def test_an_unknown_weight_is_kept_for_the_strict_load_to_refuse(name: str) -> None:
    """A name that is neither used nor known to be unused is not dropped."""
    state = {f"model.encoder.{key}": value for key, value in tiny().state_dict().items()}
    kept = encoder_weights({**state, name: torch.zeros(1)}, tiny().config)
    assert set(kept) - set(tiny().state_dict()) == {name.removeprefix("model.encoder.")}


@pytest.mark.parametrize(
    ("samples", "tokens"), [(16000, 25), (16001, 26), (640, 1), (641, 2), (1, 1), (2 * 64000 + 640, 201)]
)
def test_tokenize_gives_a_token_per_40_ms(samples: int, tokens: int) -> None:
    """The number of tokens is rounded up; audio longer than the positions allow is split."""
    ids = tiny().tokenize(torch.randn(samples) * 0.1)
    assert ids.shape == (tokens,)
    assert ids.dtype == torch.int64
    assert 0 <= ids.min() <= ids.max() < TINY["quantize_vocab_size"]


def test_features_are_whispers_without_the_padding_to_30_s() -> None:
    """The mask covers all frames, also the last partial one, and the features end with a whole token."""
    features, mask = tiny().features(torch.randn(1000) * 0.1)
    assert features.shape == (1, 5, 8)
    assert mask.tolist() == [[1, 1, 1, 1, 1, 1, 1, 0]]


def test_too_long_features_are_refused() -> None:
    """More frames than positions is an error with the limit."""
    with pytest.raises(ValueError, match="up to 400"):
        tiny().hidden(torch.zeros(1, 5, 404), torch.ones(1, 404))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pooling_type": "median"}, "pooling_type"),
        ({"activation_function": "relu"}, "activation_function"),
        ({"encoder_attention_heads": 3}, "d_model"),
        ({"pooling_position": 4}, "pooling_position"),
        ({"pooling_position": 0}, "pooling_position"),
        ({"quantize_causal_block_size": 1}, "quantize_causal_block_size"),
    ],
)
def test_an_unsupported_config_is_refused(change: dict[str, Any], message: str) -> None:
    """An option that is not implemented is a CheckpointError with its name."""
    with pytest.raises(CheckpointError, match=message):
        WhisperVQConfig.from_hf({**TINY, **change})


def test_config_takes_foreign_keys_and_names_missing_ones() -> None:
    """Other keys of Hugging Face configs are ignored; a missing one is an error."""
    assert WhisperVQConfig.from_hf({**TINY, "torch_dtype": "float32"}).pooling == 2
    with pytest.raises(CheckpointError, match="d_model"):
        WhisperVQConfig.from_hf({key: value for key, value in TINY.items() if key != "d_model"})
