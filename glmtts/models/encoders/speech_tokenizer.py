"""Whisper-VQ (GLM-4-Voice, Zeng et al. 2024, arXiv:2412.02612): 16 kHz speech to discrete tokens, 25 per second.

Dimension names: b batch, c mel bins, d channels, t time in frames, n tokens, s samples.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import WhisperFeatureExtractor

from glmtts.errors import CheckpointError
from glmtts.models.encoders.bucketed_conv import BucketedConv1d, CausalConv1d
from glmtts.models.row_blocks import gelu

V = TypeVar("V")

CONV_STRIDE = 2


@dataclass(frozen=True)
class WhisperVQConfig:
    """The keys used from the tokenizer's `config.json`, which has many more."""

    d_model: int
    encoder_attention_heads: int
    encoder_ffn_dim: int
    num_mel_bins: int
    max_source_positions: int
    quantize_vocab_size: int
    quantize_position: int
    pooling_position: int = 0
    pooling_kernel_size: int | None = None
    pooling_type: str = "max"
    quantize_causal_block_size: int | None = None
    encoder_causal_attention: bool = False
    encoder_causal_convolution: bool = False
    quantize_causal_encoder: bool = False
    activation_function: str = "gelu"

    @classmethod
    def from_hf(cls, values: Mapping[str, Any]) -> WhisperVQConfig:
        """From a Hugging Face config; CheckpointError if a key is missing or its value is not supported."""
        known = {field.name for field in fields(cls)}
        try:
            return cls(**{key: value for key, value in values.items() if key in known})
        except TypeError as error:
            raise CheckpointError(f"speech tokenizer config: {error}") from error

    def __post_init__(self) -> None:
        if self.pooling_type not in ("avg", "max"):
            raise CheckpointError(
                f"speech tokenizer config: pooling_type: expected avg or max, got {self.pooling_type!r}"
            )
        if self.activation_function != "gelu":
            raise CheckpointError(
                f"speech tokenizer config: activation_function: expected gelu, got {self.activation_function!r}"
            )
        if self.d_model % self.encoder_attention_heads:
            raise CheckpointError(
                "speech tokenizer config: d_model: expected a multiple of encoder_attention_heads "
                f"({self.encoder_attention_heads}), got {self.d_model}"
            )
        if self.pooling > 1 and not 1 <= self.pooling_position <= self.quantize_position:
            raise CheckpointError(
                "speech tokenizer config: pooling_position: expected 1 to quantize_position "
                f"({self.quantize_position}), got {self.pooling_position}"
            )
        block = self.quantize_causal_block_size
        if block is not None and block < self.pooling:
            raise CheckpointError(
                "speech tokenizer config: quantize_causal_block_size: expected at least pooling_kernel_size "
                f"({self.pooling}), got {block}"
            )

    @property
    def pooling(self) -> int:
        """Convolution frames per token; 1 without pooling."""
        return self.pooling_kernel_size or 1

    @property
    def causal(self) -> bool:
        """Whether a frame attends only to itself and earlier frames."""
        return self.encoder_causal_attention or self.quantize_causal_encoder


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x_btd: Tensor, visible_b1tt: Tensor) -> Tensor:
        q, k, v = (
            proj(x_btd).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=visible_b1tt)
        out: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return out


class _Layer(nn.Module):
    """Pre-norm Transformer layer: attention, then a GELU feed-forward, each added to its input."""

    def __init__(self, config: WhisperVQConfig) -> None:
        super().__init__()
        self.self_attn = _Attention(config.d_model, config.encoder_attention_heads)
        self.self_attn_layer_norm = nn.LayerNorm(config.d_model)
        self.fc1 = nn.Linear(config.d_model, config.encoder_ffn_dim)
        self.fc2 = nn.Linear(config.encoder_ffn_dim, config.d_model)
        self.final_layer_norm = nn.LayerNorm(config.d_model)

    def forward(self, x_btd: Tensor, visible_b1tt: Tensor) -> Tensor:
        x_btd = x_btd + self.self_attn(self.self_attn_layer_norm(x_btd), visible_b1tt)
        out: Tensor = x_btd + self.fc2(gelu(self.fc1(self.final_layer_norm(x_btd))))
        return out


class WhisperVQ(nn.Module):
    """Whisper's encoder up to the quantiser, with the published names (`encoder_weights` selects them from a file).

    `extractor` computes the features of a waveform; by default Whisper's own with `num_mel_bins` bins.
    """

    def __init__(self, config: WhisperVQConfig, extractor: WhisperFeatureExtractor | None = None) -> None:
        super().__init__()
        self.config = config
        self.extractor = extractor or WhisperFeatureExtractor(feature_size=config.num_mel_bins)  # type: ignore[no-untyped-call]
        if self.extractor.feature_size != config.num_mel_bins:
            raise CheckpointError(
                f"speech tokenizer: num_mel_bins: expected the preprocessor's {self.extractor.feature_size}, "
                f"got {config.num_mel_bins}"
            )
        d = config.d_model
        conv, pad = (CausalConv1d, 0) if config.encoder_causal_convolution else (BucketedConv1d, 1)
        self.conv1 = conv(config.num_mel_bins, d, kernel_size=3, padding=pad)
        self.conv2 = conv(d, d, kernel_size=3, stride=CONV_STRIDE, padding=pad)
        self.embed_positions = nn.Embedding(config.max_source_positions, d)
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.quantize_position))
        self.codebook = nn.Embedding(config.quantize_vocab_size, d)
        # Unused here, because it comes after the quantiser, but every checkpoint has it.
        self.embed_positions2 = nn.Embedding(-(-config.max_source_positions // config.pooling), d)
        self.embed_positions2.requires_grad_(False)

    def hidden(self, features_bct: Tensor, mask_bt: Tensor) -> Tensor:
        """Continuous vectors (b, n, d) just before quantisation, differentiable.

        `features_bct` (b, mels, t): log-mel at 100 Hz, t a multiple of the stride 2 × pooling; `mask_bt` is 1 where
        there is speech, from the left. n = t / stride. Frames beyond the mask come out as noise.
        """
        frames = features_bct.shape[-1] // CONV_STRIDE
        if features_bct.shape[-1] % CONV_STRIDE or frames > self.config.max_source_positions:
            raise ValueError(
                "speech tokenizer: feature frames: expected an even number up to "
                f"{CONV_STRIDE * self.config.max_source_positions}, got {features_bct.shape[-1]}"
            )
        x = F.gelu(self.conv2(F.gelu(self.conv1(features_bct)))).transpose(1, 2)
        x = x + self.embed_positions.weight[:frames]
        mask = mask_bt[:, ::CONV_STRIDE].bool()
        block = self.config.quantize_causal_block_size
        visible = self._visible(mask, block)
        for number, layer in enumerate(self.layers, start=1):
            x = layer(x, visible)
            if self.config.pooling > 1 and number == self.config.pooling_position:
                x = self._pool(x)
                mask = mask[:, :: self.config.pooling]
                visible = self._visible(mask, block and block // self.config.pooling)
        return x

    def encode(self, features_bct: Tensor, mask_bt: Tensor) -> tuple[Tensor, Tensor]:
        """Token ids (b, n) int64 and their mask (b, n) bool: the codebook row nearest to each `hidden` vector."""
        hidden = self.hidden(features_bct, mask_bt)
        return self.quantize(hidden), mask_bt[:, :: CONV_STRIDE * self.config.pooling].bool()

    def quantize(self, hidden_bnd: Tensor) -> Tensor:
        """Ids (b, n) of the codebook rows at the smallest squared distance."""
        codes = self.codebook.weight
        # Without |h|², which is the same for all rows of the codebook.
        return (codes.square().sum(-1) - 2 * hidden_bnd @ codes.T).argmin(-1)

    def features(self, wave_s: Tensor) -> tuple[Tensor, Tensor]:
        """Whisper log-mel (1, mels, t) and mask (1, t) of at most 30 s at 16 kHz, on the module's device.

        Padded with silence to a whole number of tokens, not to 30 s.
        """
        features = self.extractor(
            wave_s.cpu().numpy(),
            sampling_rate=self.extractor.sampling_rate,
            padding="longest",
            pad_to_multiple_of=self.extractor.hop_length * CONV_STRIDE * self.config.pooling,
            return_attention_mask=True,
            return_tensors="pt",
        )
        weight = self.conv1.weight
        return features["input_features"].to(weight), features["attention_mask"].to(weight.device)

    @torch.no_grad()
    def tokenize(self, wave_s: Tensor) -> Tensor:
        """Token ids (n,) int64, on the CPU, of a 16 kHz waveform (s,) of any length, in chunks of 30 s."""
        chunk = min(
            self.extractor.n_samples, self.config.max_source_positions * CONV_STRIDE * self.extractor.hop_length
        )
        ids = []
        for part in torch.split(wave_s, chunk):
            tokens, mask = self.encode(*self.features(part))
            ids.append(tokens[mask])
        return torch.cat(ids).cpu()

    def _pool(self, x_btd: Tensor) -> Tensor:
        kernel = self.config.pooling
        x_bdt = F.pad(x_btd.transpose(1, 2), (0, -x_btd.shape[1] % kernel))
        pool = F.avg_pool1d if self.config.pooling_type == "avg" else F.max_pool1d
        return pool(x_bdt, kernel).transpose(1, 2)

    def _visible(self, mask_bt: Tensor, block: int | None) -> Tensor:
        """Which keys (last axis) each query attends to, bool (b, 1, t or 1, t): those in the mask, up to the end of the
        query's own block of `block` frames, or up to the query itself if the encoder is causal."""
        keys = mask_bt[:, None, None, :]
        position = torch.arange(mask_bt.shape[1], device=mask_bt.device)
        if self.config.causal:
            return keys & (position <= position[:, None])
        return keys if block is None else keys & (position // block <= position[:, None] // block)


_UNUSED = re.compile(r"ema_|layer_norm\.|layers\.(\d+)\.")


def encoder_weights(state: Mapping[str, V], config: WhisperVQConfig) -> dict[str, V]:
    """The weights of a published checkpoint that `WhisperVQ` has, under its names.

    Takes the names under `model.encoder.` (or all, if there are none), and drops what is known to be unused: the
    decoder, the codebook's moving averages, layers after the quantiser and the norm after them.
    """
    prefix = "model.encoder."
    if any(name.startswith(prefix) for name in state):
        state = {
            name.removeprefix(prefix): value for name, value in state.items() if not name.startswith("model.decoder.")
        }
    return {name: value for name, value in state.items() if not _is_unused(name, config)}


def _is_unused(name: str, config: WhisperVQConfig) -> bool:
    match = _UNUSED.match(name)
    return match is not None and (match[1] is None or int(match[1]) >= config.quantize_position)
