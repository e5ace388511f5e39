from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from glmtts.config import DiTConfig
from glmtts.errors import CheckpointError
from glmtts.models.flow.dit import DiT, DiTInputs, block_mask
from glmtts.models.flow.dit_layers import _rotate_first_head_
from glmtts.models.flow.text_embedding import repeat_to_frames
from tests.helpers.golden import load_case

TOLERANCE = 2e-4
GOLDEN = ["flow_adaln", "flow_both", "flow_concat"]
TINY = DiTConfig(
    trans_dim=32, depth=2, heads=2, dim_head=16, ff_mult=2, text_emb_dim=16, conv_layers=2, text_vocab_size=20
)


def noisy_dit(config: DiTConfig = TINY) -> DiT:
    """A DiT with random parameters, so that no zero or one hides a path."""
    torch.manual_seed(0)
    dit = DiT(config).requires_grad_(False)
    for parameter in dit.parameters():
        parameter.copy_(torch.randn_like(parameter) * 0.2)
    return dit


def inputs(rows: int, frames: int, config: DiTConfig = TINY) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(rows, frames, config.mel_dim, generator=generator),
        torch.randint(0, config.text_vocab_size + 1, (rows, frames), generator=generator),
        torch.randn(rows, frames, config.condition_dim, generator=generator),
        torch.rand(rows, generator=generator),
        torch.randn(rows, 192, generator=generator),
    )


def velocity(dit: DiT, *call: Tensor, valid: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    """One pass over the noisy mel, token ids, the condition, the time and the speaker."""
    x, tokens, cond, time, speaker = call
    return dit(DiTInputs(x, dit.text_emb_layer(tokens, valid), cond, time, speaker, valid, bias)).velocity_btm


def test_the_time_embedding_may_be_narrow() -> None:
    """With `time_dim` the modulation has that many inputs besides the speaker's, and time still matters."""
    dit = noisy_dit(replace(TINY, time_dim=4))
    assert {tuple(block.attn_norm.linear.weight.shape) for block in dit.transformer_blocks} == {(6 * 32, 4 + 192)}
    x, tokens, cond, time, speaker = inputs(2, 12)
    now, later = (velocity(dit, x, tokens, cond, t, speaker) for t in (time, time + 0.5))
    assert not torch.allclose(now, later)


def golden_estimator(name: str) -> tuple[DiT, list[Tensor], dict[str, Tensor], dict[str, object]]:
    info, case, state = load_case(name)
    dit = DiT(DiTConfig(**info["dit"])).requires_grad_(False)
    prefix = "estimator."
    dit.load_state_dict({key.removeprefix(prefix): v for key, v in state.items() if key.startswith(prefix)})
    tokens = repeat_to_frames(torch.cat([case["prompt_token"], case["token"]], dim=1), case["est_x"].shape[1])
    return dit, [case["est_x"], tokens, case["est_cond"], case["est_t"], case["embedding"]], case, info


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_estimator(name: str) -> None:
    """One estimator call equals the published one's, with the speaker vector not normalised."""
    dit, call, case, _ = golden_estimator(name)
    assert (velocity(dit, *call) - case["est_out"]).abs().max() <= TOLERANCE


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_block_mask(name: str) -> None:
    """One estimator call under the block mask equals the published one's."""
    dit, call, case, info = golden_estimator(name)
    blocks = [int(tokens / 12.5 * 22050 / 256) for tokens in info["est_block_pattern_tokens"]]  # type: ignore[attr-defined]
    mask = block_mask(call[0].shape[1], blocks)
    assert (velocity(dit, *call, bias=mask) - case["est_out_causal"]).abs().max() <= TOLERANCE
    bias = torch.zeros(mask.shape).masked_fill(~mask, -math.inf)
    assert (velocity(dit, *call, bias=bias) - case["est_out_causal"]).abs().max() <= TOLERANCE


@pytest.mark.parametrize("blocked", [False, True])
@pytest.mark.parametrize("speaker", [False, True])
def test_padded_row_equals_row_alone(blocked: bool, speaker: bool) -> None:
    """A padded row gets what it gets alone, whatever the padding contains."""
    config = DiTConfig(**{**TINY.__dict__, "spkr_emb_adaLN": speaker})
    dit = noisy_dit(config).double()  # float64: a leak of one part in a billion shows
    x, tokens, cond, time, spk = (v if v.dtype == torch.int64 else v.double() for v in inputs(3, 41, config))
    lengths = [41, 23, 1]
    valid = torch.arange(41) < torch.tensor(lengths)[:, None]
    x[~valid], cond[~valid], tokens[~valid] = math.nan, math.nan, 7
    mask = block_mask(41, [5, 9]) if blocked else None
    together = velocity(dit, x, tokens, cond, time, spk, valid=valid, bias=mask)
    assert torch.equal(together[~valid], torch.zeros_like(together[~valid]))
    for row, length in enumerate(lengths):
        part = [v[row : row + 1, :length] for v in (x, tokens, cond)]
        own = None if mask is None else mask[:length, :length]
        alone = velocity(dit, *part, time[row : row + 1], spk[row : row + 1], bias=own)
        assert (together[row, :length] - alone[0]).abs().max() < 1e-9
        assert alone.std() > 0.1


def test_float_bias_keeps_padding_out() -> None:
    """A float bias and an equivalent bool mask give the same result, padding included."""
    dit = noisy_dit()
    call = inputs(2, 17)
    valid = torch.arange(17) < torch.tensor([[17], [9]])
    mask = block_mask(17, [4])
    bias = torch.zeros(17, 17).masked_fill(~mask, -math.inf)
    by_mask, by_bias = (velocity(dit, *call, valid=valid, bias=m) for m in (mask, bias))
    assert (by_mask - by_bias).abs().max() < 1e-5


def test_text_embedding_alone() -> None:
    """The text embedding runs alone, padding has no effect, and each later token affects each frame."""
    embedding = noisy_dit().text_emb_layer
    tokens = inputs(1, 30)[1]
    alone = embedding(tokens[:, :20])
    assert alone.shape == (1, 20, TINY.text_emb_dim)
    padded = embedding(tokens, torch.arange(30)[None] < 20)
    assert (padded[:, :20] - alone).abs().max() < 1e-5
    assert not padded[:, 20:].any()
    assert ((embedding(tokens)[:, :5] - alone[:, :5]).abs().amax(-1) > 0).all()


def test_position_table_ends() -> None:
    """Frames beyond the position table all get its last row."""
    embedding = noisy_dit().text_emb_layer
    embedded = embedding._position_embedding(torch.zeros(1, 4100, 8))
    assert torch.equal(embedded[4095:], embedded[4095:4096].expand(5, 8))
    assert not torch.equal(embedded[4094], embedded[4095])


def test_rotary_turns_the_first_head_only() -> None:
    """Queries are rotated in pairs by frame / 10000^(2k / d) in the first head, and unchanged in the others."""
    attention, rotary = noisy_dit().transformer_blocks[0].attn, noisy_dit().rotary_embed
    query = attention.to_q(torch.randn(1, 6, TINY.trans_dim))
    turned = _rotate_first_head_(query.clone(), rotary(6, query))
    assert torch.equal(turned[..., TINY.dim_head :], query[..., TINY.dim_head :])
    frame, pair = 5, 3
    turn = complex(math.cos(a := frame / 10000 ** (2 * pair / TINY.dim_head)), math.sin(a))
    want = complex(*query[0, frame, 2 * pair : 2 * pair + 2].tolist()) * turn
    got = turned[0, frame, 2 * pair : 2 * pair + 2]
    assert got.tolist() == pytest.approx([want.real, want.imag], abs=1e-6)


def test_every_parameter_learns() -> None:
    """A loss on the velocity reaches every parameter, with and without padding."""
    for valid in (None, torch.arange(12) < torch.tensor([[12], [8]])):
        dit = noisy_dit().requires_grad_(True)
        velocity(dit, *inputs(2, 12), valid=valid).pow(2).mean().backward()
        idle = [name for name, p in dit.named_parameters() if p.grad is None or not p.grad.any()]
        assert idle == []
        assert all(p.grad is not None and p.grad.isfinite().all() for p in dit.parameters())


def test_reset_parameters_starts_at_zero_and_can_leave_it() -> None:
    """Training starts from velocity zero and blocks that are the identity, and its gradient is not zero."""
    dit = noisy_dit().requires_grad_(True)
    dit.reset_parameters()
    call = inputs(2, 12)
    assert not velocity(dit, *call).any()
    hidden = torch.randn(2, 12, TINY.trans_dim)
    modulation, rotary = dit.modulations(torch.rand(2), torch.randn(2, 192))[0], dit.rotary_embed(12, hidden)
    assert torch.equal(dit.transformer_blocks[0](hidden, modulation, rotary, None)[0], hidden)
    (velocity(dit, *call) - 1).pow(2).mean().backward()
    assert dit.proj_out.bias.grad is not None
    assert dit.proj_out.bias.grad.all()


def test_half_precision_follows_float32() -> None:
    """Weights in bfloat16 take float32 inputs, return float32 velocity, and stay near the float32 result."""
    call = inputs(1, 300)
    want = velocity(noisy_dit(), *call)
    got = velocity(noisy_dit().bfloat16(), *call)
    assert got.dtype == torch.float32
    assert (got - want).norm() / want.norm() < 0.05


def test_unknown_conditioning_is_refused() -> None:
    """A checkpoint that needs speech-model embeddings is refused, not run without them."""
    with pytest.raises(CheckpointError, match="wav_lm_emb"):
        DiT(DiTConfig(**{**TINY.__dict__, "wav_lm_emb": True}))


def test_repeating_takes_the_nearest_token_below() -> None:
    """Frame f of F carries token floor(f * n / F) of n, in the same dtype."""
    tokens = torch.tensor([[5, 0, 9], [1, 2, 3]])
    assert repeat_to_frames(tokens, 6).tolist() == [[5, 5, 0, 0, 9, 9], [1, 1, 2, 2, 3, 3]]
    assert repeat_to_frames(tokens, 4).tolist() == [[5, 5, 0, 9], [1, 1, 2, 3]]
    assert repeat_to_frames(tokens, 2).tolist() == [[5, 0], [1, 2]]
    assert repeat_to_frames(tokens, 7).dtype == torch.int64


def attended_frames(frame: int, blocks: list[int]) -> int:
    """How far a frame attends, by walking through the blocks."""
    end, index = blocks[0], 0
    while frame >= end:
        index += 1
        end += blocks[min(index, len(blocks) - 1)]
    size = blocks[min(index, len(blocks) - 1)]
    look = size // 2 if size <= 172 else int(size / 1.5)
    return end + max(0, look - (end - 1 - frame))


@pytest.mark.parametrize("blocks", [[1], [6, 13], [50], [172], [173], [30, 174, 20]])
@pytest.mark.parametrize("frames", [1, 13, 50, 400])
def test_block_mask_walks_the_blocks(frames: int, blocks: list[int]) -> None:
    """Each frame attends to its block and the rule's look-ahead; the last block size repeats."""
    mask = block_mask(frames, blocks)
    assert mask.shape == (frames, frames)
    columns = torch.arange(frames)
    for frame in range(frames):
        assert torch.equal(mask[frame], columns < attended_frames(frame, blocks))


@pytest.mark.parametrize("blocks", [[], [0], [4, -1]])
def test_block_mask_refuses_empty_blocks(blocks: list[int]) -> None:
    """Blocks without a frame are refused, with the sizes in the message."""
    with pytest.raises(ValueError, match="block sizes"):
        block_mask(10, blocks)
