from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from glmtts.config import DiTConfig, FlowConfig
from glmtts.errors import CheckpointError
from glmtts.models.flow.dit import DiTInputs
from glmtts.models.flow.flow import Flow, cosine_times, euler
from tests.helpers.golden import load_case

TOLERANCE = 2e-4
SAME_IN_GOLDEN = ("inference_cfg_rate", "speech_token_cfg", "t_scheduler", "input_frame_rate", "mel_framerate")
DIT = DiTConfig(
    trans_dim=32, depth=2, heads=2, dim_head=16, ff_mult=2, text_emb_dim=16, conv_layers=1, text_vocab_size=20
)
TINY = FlowConfig(dit=DIT, n_timesteps=2)


def noisy_flow(config: FlowConfig = TINY) -> Flow:
    """A Flow with random parameters, so that no zero or one hides a path."""
    torch.manual_seed(0)
    flow = Flow(config).requires_grad_(False)
    for parameter in flow.parameters():
        parameter.copy_(torch.randn_like(parameter) * 0.2)
    return flow


def request(tokens: int = 9, prompt: int = 5, prompt_frames: int = 10) -> dict[str, Tensor]:
    torch.manual_seed(1)
    return {
        "tokens_bn": torch.randint(0, 20, (1, tokens)),
        "prompt_tokens_bn": torch.randint(0, 20, (1, prompt)),
        "prompt_mel_btm": torch.randn(1, prompt_frames, 80),
        "spk_bd": torch.randn(1, 192),
        "noise_btm": torch.randn(1, 100, 80),
    }


@pytest.mark.parametrize("name", ["flow_adaln", "flow_both", "flow_concat"])
def test_golden_sampler(name: str) -> None:
    """From the same noise, the sampler computes the published one's mel; the state dict loads strictly."""
    info, case, state = load_case(name)
    dit = DiTConfig(**info["dit"])
    flow = Flow(
        FlowConfig(
            dit=dit,
            remove_spkr_concat_condition=dit.condition_dim == dit.mel_dim,
            **{key: info[key] for key in SAME_IN_GOLDEN},
        )
    ).requires_grad_(False)
    flow.load_state_dict(state)
    for output, steps in info["n_timesteps"].items():
        mel = flow.sample(
            case["token"], case["prompt_token"], case["prompt_feat"], case["embedding"], case["noise"], steps=steps
        )
        assert mel.shape == case[output].shape
        assert (mel - case[output]).abs().max() <= TOLERANCE


def test_cosine_times() -> None:
    """Times go from 0 to 1 as 1 - cos(s * pi / 2); fewer than one step is an error."""
    times = cosine_times(4)
    assert times.tolist() == pytest.approx([1 - math.cos(s / 4 * math.pi / 2) for s in range(5)], abs=1e-7)
    with pytest.raises(ValueError, match=r"solver steps: .* got 0"):
        cosine_times(0)


def test_euler_on_closed_forms() -> None:
    """Euler is exact on a constant, meets (1 - h)^n on decay, and converges to the exponential at first order."""
    x0 = torch.tensor([1.0, -2.0], dtype=torch.float64)
    even = torch.linspace(0, 1, 11, dtype=torch.float64)
    assert torch.allclose(euler(lambda x, t: torch.full_like(x, 3.0), x0, even), x0 + 3)
    assert torch.allclose(euler(lambda x, t: -x, x0, even), x0 * 0.9**10)
    # dx/dt = 2t over even steps: the left sum of 2t, 1 - 1/n; this one fails if t lags or leads.
    assert torch.allclose(euler(lambda x, t: 2 * t.expand_as(x), x0, even), x0 + 0.9)
    errors = [
        (euler(lambda x, t: -x, x0, cosine_times(n).double()) - x0 * math.exp(-1)).abs().max() for n in (100, 200)
    ]
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize("rate", [0.7, 0.0])
@pytest.mark.parametrize("concat", [False, True])
@pytest.mark.parametrize("token_cfg", [False, True])
def test_guidance_mixes_two_passes(concat: bool, token_cfg: bool, rate: float) -> None:
    """One step is noise + (1 + w) * v(cond) - w * v(uncond); uncond has no prompt, no speaker and, with
    speech_token_cfg, no tokens. With w = 0 it is not computed."""
    dit = replace(DIT, condition_dim=160 if concat else 80)
    config = FlowConfig(dit, speech_token_cfg=token_cfg, remove_spkr_concat_condition=not concat)
    flow = noisy_flow(replace(config, inference_cfg_rate=rate))
    torch.manual_seed(2)
    tokens, cond, noise = torch.randint(1, 20, (1, 14)), torch.randn(1, 14, 80), torch.randn(1, 14, 80)
    spk, zero = torch.randn(1, 192), torch.zeros(1)
    unit = spk / spk.norm()
    full = torch.cat([cond, flow.spk_embed_affine_layer(unit)[:, None].expand(1, 14, 80)], -1) if concat else cond
    null = torch.zeros_like(tokens) if token_cfg else tokens
    embed = flow.estimator.text_emb_layer
    with_cond = flow.estimator(DiTInputs(noise, embed(tokens), full, zero, unit)).velocity_btm
    uncond = DiTInputs(noise, embed(null), torch.zeros_like(full), zero, torch.zeros_like(spk))
    without = flow.estimator(uncond).velocity_btm
    want = noise + (1 + rate) * with_cond - rate * without
    rows: list[int] = []
    flow.estimator.proj_out.register_forward_hook(lambda _module, _given, out: rows.append(len(out)))
    assert (flow.solve(tokens, cond, spk, noise, steps=1) - want).abs().max() < 1e-4
    assert rows == [2 if rate else 1]
    assert (with_cond - without).abs().max() > 0.1


@pytest.mark.parametrize("concat", [False, True])
def test_padded_row_solves_as_alone(concat: bool) -> None:
    """A padded row of a batch gets the mel that it gets alone."""
    flow = noisy_flow(
        replace(TINY, dit=replace(DIT, condition_dim=160 if concat else 80), remove_spkr_concat_condition=not concat)
    )
    flow.double()  # float64: a leak of one part in a billion shows
    torch.manual_seed(2)
    lengths = [31, 12]
    tokens, spk = torch.randint(0, 20, (2, 31)), torch.randn(2, 192).double()
    cond, noise = torch.randn(2, 2, 31, 80).double()
    together = flow.solve(tokens, cond, spk, noise, valid_bt=torch.arange(31) < torch.tensor(lengths)[:, None])
    for row, n in enumerate(lengths):
        own = slice(row, row + 1)
        alone = flow.solve(tokens[own, :n], cond[own, :n], spk[own], noise[own, :n])
        assert (together[own, :n] - alone).abs().max() < 1e-9
        assert (alone - noise[own, :n]).abs().max() > 0.1


def test_sample_cuts_the_prompt_mel() -> None:
    """The prompt's mel frames, not its tokens' frames, are cut off: 14 tokens after 9 mel frames leave 19."""
    assert noisy_flow().sample(**request(prompt_frames=9)).shape == (1, 80, 19)
    assert noisy_flow().sample(**request(prompt=0, prompt_frames=0)).shape == (1, 80, 18)


def test_too_long_a_prompt_keeps_its_end() -> None:
    """Of a prompt mel longer than all frames, the last rows are the condition."""
    mel = torch.arange(6.0)[None, :, None].expand(1, 6, 80)
    assert noisy_flow().prompt_condition(mel, 4)[0, :, 0].tolist() == [2, 3, 4, 5]
    assert noisy_flow().prompt_condition(mel, 8)[0, :, 0].tolist() == [0, 1, 2, 3, 4, 5, 0, 0]


def test_frames_set_the_speed() -> None:
    """With `frames`, the prompt keeps its ratio and the new tokens are repeated over the rest."""
    flow = noisy_flow()
    new, prompt = torch.tensor([[11, 12]]), torch.tensor([[1, 2]])
    assert flow.frame_tokens(new, prompt, 4).tolist() == [[1, 1, 2, 2, 11, 11, 12, 12]]
    assert flow.frame_tokens(new, prompt, 4, 4).tolist() == [[1, 1, 2, 2, 11, 11, 12, 12]]
    assert flow.frame_tokens(new, prompt, 4, 6).tolist() == [[1, 1, 2, 2, 11, 11, 11, 12, 12, 12]]
    assert flow.frame_tokens(new, prompt[:, :0], 0, 3).tolist() == [[11, 11, 12]]
    assert flow.sample(**request(), frames=25).shape == (1, 80, 25)
    assert torch.equal(flow.sample(**request(), frames=18), flow.sample(**request()))
    with pytest.raises(ValueError, match=r"new frames: .* got 0"):
        flow.frame_tokens(new, prompt, 4, 0)


def test_short_noise_is_refused() -> None:
    """Noise that does not cover prompt and new frames is an error with both lengths."""
    given = request()
    with pytest.raises(ValueError, match="28 frames, got 27"):
        noisy_flow().sample(**{**given, "noise_btm": given["noise_btm"][:, :27]})


def test_frames_of_tokens() -> None:
    """By default 29 tokens are 57 frames, as in the published code; with `frames` a token is exactly two."""
    flow = noisy_flow()
    assert [flow.frames(n) for n in (1, 28, 29, 30)] == [2, 56, 57, 60]
    prompt, new = torch.arange(29)[None], torch.tensor([[50, 51]])
    assert flow.frame_tokens(new[:, :0], prompt, 58).shape == (1, 57)
    assert torch.equal(flow.frame_tokens(new, prompt, 58, 4)[0], torch.cat([prompt, new], 1)[0].repeat_interleave(2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"remove_spkr_concat_condition": False}, "condition_dim: expected 160 .* got 80"),
        ({"t_scheduler": "sway"}, "t_scheduler: .* got 'sway'"),
    ],
)
def test_inconsistent_config_is_refused(change: dict[str, object], message: str) -> None:
    """A config that contradicts itself, or has an unknown scheduler, is an error with expected and actual values."""
    with pytest.raises(CheckpointError, match=message):
        Flow(replace(TINY, **change))  # type: ignore[arg-type]
