"""The AR transformer: Llama (Touvron et al. 2023, arXiv:2302.13971), for training and for decoding with a cache.

Not transformers' implementation, because rows of one batch are at different positions, and because launches dominate a
step at this size: here one projection computes q, k and v, one gate and up, and a layer writes its cache once.
State-dict names are those of transformers' LlamaForCausalLM.
Dimension names: b batch, n positions, h heads, d channels.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glmtts.errors import CheckpointError
from glmtts.models.llm.int8 import Int8Linear
from glmtts.models.llm.kv_cache import KVCache, Rows, head_dim, kv_heads
from glmtts.models.llm.rotary import Rotary, RotaryTable, rope_theta
from glmtts.models.row_blocks import Linear, linear

if TYPE_CHECKING:
    from transformers import LlamaConfig


class LlamaOutput(NamedTuple):
    """logits (b, n, vocabulary); hidden, their normed input (b, n, d); `attention[layer]`, float32 (b, h, n, n), whose
    rows sum to 1."""

    logits: Tensor
    hidden: Tensor
    attention: dict[int, Tensor]


class MergedLinear:
    """Linears of one input as one matrix product. Their parameters become views of the merged matrix, so memory does
    not double and the state dict keeps its names and shapes. In float32 on the CPU the matrix is stored by input
    channel: products with few rows, as in decoding, are a third faster that way (in bfloat16 they are much slower)."""

    def __init__(self, *layers: nn.Linear) -> None:
        weight = torch.cat([layer.weight.detach() for layer in layers])
        by_input = weight.device.type == "cpu" and weight.dtype == torch.float32
        self.weight = weight.t().contiguous().t() if by_input else weight
        biases = [layer.bias.detach() for layer in layers if layer.bias is not None]
        self.bias = torch.cat(biases) if biases else None
        start = 0
        for layer in layers:
            end = start + layer.out_features
            layer.weight = nn.Parameter(self.weight[start:end], requires_grad=False)
            if self.bias is not None:
                layer.bias = nn.Parameter(self.bias[start:end], requires_grad=False)
            start = end

    def __call__(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


class Attention(nn.Module):
    """Grouped-query attention with rotary positions in the half-split layout of the hub's Llama weights."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.heads: int = config.num_attention_heads
        self.kv_heads = kv_heads(config)
        self.head_dim = head_dim(config)
        bias = bool(config.attention_bias)
        self.q_proj = Linear(config.hidden_size, self.heads * self.head_dim, bias=bias)
        self.k_proj = Linear(config.hidden_size, self.kv_heads * self.head_dim, bias=bias)
        self.v_proj = Linear(config.hidden_size, self.kv_heads * self.head_dim, bias=bias)
        self.o_proj = Linear(self.heads * self.head_dim, config.hidden_size, bias=bias)
        self.fused: MergedLinear | Int8Linear | None = None

    def fuse(self) -> None:
        self.fused = MergedLinear(self.q_proj, self.k_proj, self.v_proj)
        MergedLinear(self.o_proj)  # for the layout

    def quantise(self) -> None:
        self.fused = Int8Linear.of(self.q_proj, self.k_proj, self.v_proj)
        self.o_proj = Int8Linear.of(self.o_proj)  # type: ignore[assignment]  # it is called alike
        del self.q_proj, self.k_proj, self.v_proj

    def qkv(self, x_bnd: Tensor, rotary: Rotary) -> Tensor:
        """Queries, keys and values side by side: (b, n, heads + 2 × kv_heads, head_dim); the first two rotated."""
        if self.fused is not None:
            qkv = self.fused(x_bnd)
        else:
            qkv = torch.cat([part(x_bnd) for part in (self.q_proj, self.k_proj, self.v_proj)], dim=-1)
        qkv = qkv.view(*x_bnd.shape[:2], -1, self.head_dim)
        rotary.apply_(qkv[:, :, : self.heads + self.kv_heads])
        return qkv

    def forward(self, x_bnd: Tensor, rotary: Rotary, mask: Tensor | None, want_probs: bool) -> tuple[Tensor, Tensor]:
        """Attends within the sequence. `mask` (b, 1, n, n) is true where attended to; None means causal.

        Returns the output and, if `want_probs`, the attention weights (b, h, n, n), else an empty tensor.
        """
        sizes = [self.heads, self.kv_heads, self.kv_heads]
        q, k, v = torch.split(self.qkv(x_bnd, rotary).transpose(1, 2), sizes, dim=1)
        if want_probs:
            n = x_bnd.shape[1]
            visible = torch.ones(n, n, dtype=torch.bool, device=x_bnd.device).tril() if mask is None else mask
            k, v = (x.repeat_interleave(self.heads // self.kv_heads, dim=1) for x in (k, v))
            scores = (q @ k.transpose(-1, -2) * self.head_dim**-0.5).masked_fill(~visible, float("-inf"))
            probs = scores.softmax(dim=-1, dtype=torch.float32)
            out = probs.to(v.dtype) @ v
        else:
            probs = x_bnd.new_empty(0)
            out = F.scaled_dot_product_attention(q, k, v, mask, is_causal=mask is None, enable_gqa=True)
        return self.o_proj(out.transpose(1, 2).flatten(2)), probs

    def forward_cached(self, x_bnd: Tensor, step: CachedStep, layer: int) -> Tensor:
        """Writes the new positions to the cache, then attends to all of it."""
        b, n, _ = x_bnd.shape
        qkv = self.qkv(x_bnd, step.rotary)
        step.cache.write(layer, step.rows, step.positions, qkv[:, :, self.heads :])
        k, v = step.cache.read(layer, step.rows, step.length)
        # Heads that share a key head are further queries of it, so keys need not be repeated.
        q = qkv[:, :, : self.heads].transpose(1, 2).reshape(b, self.kv_heads, -1, self.head_dim)
        out = F.scaled_dot_product_attention(q, k, v, step.mask)
        out = out.reshape(b, self.heads, n, self.head_dim).transpose(1, 2).reshape(b, n, -1)
        projected: Tensor = self.o_proj(out)
        return projected


class MLP(nn.Module):
    """SwiGLU."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        bias = bool(config.mlp_bias)
        self.gate_proj = Linear(config.hidden_size, config.intermediate_size, bias=bias)
        self.up_proj = Linear(config.hidden_size, config.intermediate_size, bias=bias)
        self.down_proj = Linear(config.intermediate_size, config.hidden_size, bias=bias)
        self.fused: MergedLinear | Int8Linear | None = None

    def fuse(self) -> None:
        self.fused = MergedLinear(self.gate_proj, self.up_proj)
        MergedLinear(self.down_proj)  # for the layout

    def quantise(self) -> None:
        self.fused = Int8Linear.of(self.gate_proj, self.up_proj)
        self.down_proj = Int8Linear.of(self.down_proj)  # type: ignore[assignment]  # it is called alike
        del self.gate_proj, self.up_proj

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.fused(x).chunk(2, dim=-1) if self.fused is not None else (self.gate_proj(x), self.up_proj(x))
        out: Tensor = self.down_proj(F.silu(gate) * up)
        return out


class DecoderLayer(nn.Module):
    """Pre-norm block."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.self_attn = Attention(config)
        self.mlp = MLP(config)
        self.input_layernorm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_attention_layernorm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)


class LlamaModel(nn.Module):
    """Everything below the head: `model` in checkpoints."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList([DecoderLayer(config) for _ in range(config.num_hidden_layers)])
        self.norm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def decoder_layers(self) -> list[DecoderLayer]:
        """The layers, with their type."""
        return cast("list[DecoderLayer]", list(self.layers))


class CachedStep(NamedTuple):
    """What all layers of a cached pass share. `mask` (b, 1, group × n, length) is added to the scores."""

    cache: KVCache
    rows: Rows
    positions: Tensor
    length: int
    rotary: Rotary
    mask: Tensor


class Llama(nn.Module):
    """LlamaForCausalLM. `config` is transformers' LlamaConfig; CheckpointError if it needs what is not implemented.

    Tied embeddings: `lm_head.weight` is the embedding itself, and both names are in the state dict.
    """

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.config = config
        self._rotary = RotaryTable(head_dim(config), rope_theta(config))
        if config.hidden_act != "silu":
            raise CheckpointError(f"llm/config.json: hidden_act: expected 'silu', got {config.hidden_act!r}")
        self.model = LlamaModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

    @torch.no_grad()
    def init_weights(self) -> None:
        """Fresh weights for training: normal with the config's `initializer_range`; biases 0, norms 1."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=self.config.initializer_range)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def fuse(self) -> None:
        """For serving: merges q, k, v and gate, up. Call it after loading and moving; it freezes the weights."""
        for layer in self.model.decoder_layers():
            layer.self_attn.fuse()
            layer.mlp.fuse()

    def quantise(self) -> None:
        """For serving in less memory: the layers' weights in int8, for good."""
        for layer in self.model.decoder_layers():
            layer.self_attn.quantise()
            layer.mlp.quantise()

    def forward(
        self, ids_bn: Tensor, valid_bn: Tensor | None = None, *, attention_of: Collection[int] = ()
    ) -> LlamaOutput:
        """Whole sequences, causal, positions from 0; differentiable.

        Args:
            ids_bn: token ids (b, n).
            valid_bn: bool (b, n), false at padding, which no other position attends to; None if all padding is on the
                right and its outputs are ignored (the causal mask then suffices).
            attention_of: layers whose attention weights to return (for a guided-attention loss).
        """
        n = ids_bn.shape[1]
        x = self.model.embed_tokens(ids_bn)
        rotary = self._rotary.get(torch.arange(n, device=x.device)[None], n, dtype=x.dtype)
        mask = None
        if valid_bn is not None:
            mask = torch.ones(n, n, dtype=torch.bool, device=x.device).tril() & valid_bn[:, None, None, :]
            # A padded query attends to itself: an empty row would be NaN, and so would its gradient.
            mask = mask | torch.eye(n, dtype=torch.bool, device=x.device)
        attention = {}
        for index, layer in enumerate(self.model.decoder_layers()):
            out, probs = layer.self_attn(layer.input_layernorm(x), rotary, mask, index in attention_of)
            if index in attention_of:
                attention[index] = probs
            x = x + out
            x = x + layer.mlp(layer.post_attention_layernorm(x))
        hidden = self.model.norm(x)
        return LlamaOutput(self.lm_head(hidden), hidden, attention)

    def forward_cached(
        self, ids_bn: Tensor, positions_b: Tensor, cache: KVCache, *, length: int, rows: Rows | None = None
    ) -> Tensor:
        """Prefill and decode alike: feeds n more ids to each row, at the row's own position. No device sync.

        Args:
            ids_bn: (b, n). A row with fewer new ids is padded on the right: what the padding writes is masked from
                all later queries until it is overwritten.
            positions_b: int64 (b,), the position of each row's first new id.
            cache: its rows `rows` (default the first b) are read and written.
            length: host int, at least max(positions_b) + n over the rows that matter: positions of a slot to read.

        Returns: normed hidden states (b, n, hidden), the input of `lm_head`.
        """
        assert length <= cache.length, f"length: expected at most {cache.length} positions, got {length}"
        b, n = ids_bn.shape
        x = self.model.embed_tokens(ids_bn)
        positions = positions_b[:, None] + torch.arange(n, device=x.device)
        hidden_keys = torch.arange(length, device=x.device) > positions[:, :, None]
        mask = x.new_zeros(b, n, length).masked_fill_(hidden_keys, float("-inf"))
        group = self.config.num_attention_heads // kv_heads(self.config)
        mask = mask.repeat(1, group, 1)[:, None]
        rotary = self._rotary.get(positions, cache.length, dtype=x.dtype)
        step = CachedStep(cache, slice(0, b) if rows is None else rows, positions, length, rotary, mask)
        for index, layer in enumerate(self.model.decoder_layers()):
            x = x + layer.self_attn.forward_cached(layer.input_layernorm(x), step, index)
            x = x + layer.mlp(layer.post_attention_layernorm(x))
        hidden: Tensor = self.model.norm(x)
        return hidden
