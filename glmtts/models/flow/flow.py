"""Flow matching (Lipman et al. 2023, arXiv:2210.02747): speech tokens and a voice to mel.

Euler steps over the DiT's velocity, with classifier-free guidance (Ho & Salimans 2022, arXiv:2207.12598).
Dimension names: b batch, t time in mel frames, n tokens, m mel bins, d speaker channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glmtts.config import FlowConfig
from glmtts.errors import CheckpointError
from glmtts.models.flow.dit import NULL_TOKEN, DiT, DiTInputs, DiTOutput
from glmtts.models.flow.dit_cache import PastKV
from glmtts.models.flow.dit_layers import Modulation
from glmtts.models.flow.text_embedding import repeat_to_frames


def cosine_times(steps: int, *, device: torch.device | str | None = None) -> Tensor:
    """The steps + 1 times 1 - cos(s * pi / 2), s evenly from 0 to 1: small steps first. float32, from 0 to 1."""
    if steps < 1:
        raise ValueError(f"solver steps: expected at least 1, got {steps}")
    return 1 - torch.cos(torch.linspace(0, 1, steps + 1, device=device) * (math.pi / 2))


def euler(velocity: Callable[[Tensor, Tensor], Tensor], x0: Tensor, times: Tensor) -> Tensor:
    """x(times[-1]) from x(times[0]) = x0 and dx/dt = velocity(x, t), t a 0-d tensor; len(times) - 1 calls."""
    x = x0
    for now, later in pairwise(times):
        x = x + (later - now) * velocity(x, now)
    return x


class FlowInputs(NamedTuple):
    """What all solver steps of b rows share. With guidance each tensor has 2b rows, first those with the condition,
    then those without; else the former alone."""

    tokens_btd: Tensor
    cond_btc: Tensor
    spk_bd: Tensor


def guidance_sides(config: FlowConfig) -> int:
    """How often the estimator runs for each row: twice with guidance (with and without the condition), else once."""
    return 1 if config.inference_cfg_rate == 0 else 2


class Flow(nn.Module):
    """Tokens to mel. It keeps no state between calls, so one instance serves many utterances."""

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        mel_dim = config.dit.mel_dim
        expected = mel_dim if config.remove_spkr_concat_condition else 2 * mel_dim
        if config.dit.condition_dim != expected:
            raise CheckpointError(
                f"flow: condition_dim: expected {expected} with remove_spkr_concat_condition = "
                f"{config.remove_spkr_concat_condition}, got {config.dit.condition_dim}"
            )
        if config.t_scheduler != "cosine":
            raise CheckpointError(f"flow: t_scheduler: expected 'cosine', got {config.t_scheduler!r}")
        self.config = config
        self.estimator = DiT(config.dit, config.spk_embed_dim)
        if not config.remove_spkr_concat_condition:
            self.spk_embed_affine_layer = nn.Linear(config.spk_embed_dim, mel_dim)

    @property
    def cfg_batch(self) -> int:
        """Rows of the estimator for each row of the flow."""
        return guidance_sides(self.config)

    def frames(self, tokens: int) -> int:
        """Mel frames of `tokens` tokens, as the published code counts them.

        Trap: its float division sometimes loses a frame: 29 tokens at 25 Hz are 57 frames at 50 Hz, not 58.
        """
        return int(tokens / self.config.input_frame_rate * self.config.mel_framerate)

    def sample(
        self,
        tokens_bn: Tensor,
        prompt_tokens_bn: Tensor,
        prompt_mel_btm: Tensor,
        spk_bd: Tensor,
        noise_btm: Tensor,
        *,
        steps: int | None = None,
        frames: int | None = None,
    ) -> Tensor:
        """Mel (b, mel, new frames) of new tokens after a prompt; every row has the same lengths, no padding.

        noise_btm: for the prompt's and the new frames; ValueError if it is too short. spk_bd: raw speaker vectors.
        frames: new frames to make; the prompt's tokens keep their rate and the new ones are repeated over the rest.
        By default speed 1, as the published code counts it (see `frames`).
        The prompt's mel frames, not its tokens' frames, are cut off the front.
        """
        tokens_bt = self.frame_tokens(tokens_bn, prompt_tokens_bn, prompt_mel_btm.shape[1], frames)
        total = tokens_bt.shape[1]
        if noise_btm.shape[1] < total:
            raise ValueError(f"noise: expected at least {total} frames, got {noise_btm.shape[1]}")
        mel_btm = self.solve(
            tokens_bt, self.prompt_condition(prompt_mel_btm, total), spk_bd, noise_btm[:, :total], steps=steps
        )
        return mel_btm[:, prompt_mel_btm.shape[1] :].transpose(1, 2)

    def frame_tokens(
        self, tokens_bn: Tensor, prompt_tokens_bn: Tensor, prompt_frames: int, frames: int | None = None
    ) -> Tensor:
        """Prompt and new tokens, one per frame: (b, t).

        With `frames`, t = prompt_frames + frames and the prompt's tokens have their exact rate; ValueError if that
        leaves no frame. Without, the published code's count.
        """
        both_bn = torch.cat([prompt_tokens_bn, tokens_bn], dim=1)
        if frames is None:
            return repeat_to_frames(both_bn, self.frames(both_bn.shape[1]))
        prompt_own = prompt_tokens_bn.shape[1] * self.config.mel_framerate // self.config.input_frame_rate
        rest = prompt_frames + frames - prompt_own
        if rest < 1:
            raise ValueError(f"new frames: expected more than {prompt_own - prompt_frames}, got {frames}")
        if prompt_own == 0:
            return repeat_to_frames(tokens_bn, rest)
        return torch.cat([repeat_to_frames(prompt_tokens_bn, prompt_own), repeat_to_frames(tokens_bn, rest)], dim=1)

    def prompt_condition(self, prompt_mel_btm: Tensor, frames: int) -> Tensor:
        """The prompt's mel (its last rows, if it is longer than `frames`), then zeros: (b, frames, mel)."""
        kept = prompt_mel_btm[:, -frames:]
        return F.pad(kept, (0, 0, 0, frames - kept.shape[1]))

    def solve(
        self,
        tokens_bt: Tensor,
        cond_btm: Tensor,
        spk_bd: Tensor,
        noise_btm: Tensor,
        *,
        steps: int | None = None,
        valid_bt: Tensor | None = None,
        attention_bias_tt: Tensor | None = None,
    ) -> Tensor:
        """Mel (b, t, mel) of whole sequences, prompt included. A padded row comes out as it does alone.

        Guided velocity (1 + w) * v(cond) - w * v(uncond), both in one batch of 2b; v(cond) alone where w = 0.
        uncond has a zero condition, a zero speaker and, with speech_token_cfg, null tokens.
        Padded frames keep their noise: cut them off.
        """
        inputs = self.prepare_inputs(tokens_bt, cond_btm, spk_bd, valid_bt=valid_bt)

        def velocity(x_btm: Tensor, time: Tensor) -> Tensor:
            time_b = time.expand(len(x_btm))
            output = self.velocity(x_btm, inputs, time_b, valid_bt=valid_bt, attention_bias_tt=attention_bias_tt)
            return output.velocity_btm

        return euler(velocity, noise_btm, self.times(steps, device=noise_btm.device))

    def times(self, steps: int | None = None, *, device: torch.device | str | None = None) -> Tensor:
        """The solver's times; by default, the checkpoint's number of steps."""
        return cosine_times(self.config.n_timesteps if steps is None else steps, device=device)

    def prepare_inputs(
        self,
        tokens_bt: Tensor,
        cond_btm: Tensor,
        spk_bd: Tensor,
        *,
        valid_bt: Tensor | None = None,
        positions_t: Tensor | None = None,
    ) -> FlowInputs:
        """What all solver steps share, from frames' tokens (b, t), the prompt's mel and raw speaker vectors.

        If the mel has fewer frames than there are tokens, it is that of the last frames: the tokens before them are
        context for the text embedding only. positions_t: the tokens' positions, see `TextEmbedding.forward`.
        """
        spk_bd = F.normalize(spk_bd, dim=-1)
        cond_btc = self._with_speaker(cond_btm, spk_bd)
        embed = self.estimator.text_emb_layer
        kept = slice(tokens_bt.shape[1] - cond_btm.shape[1], None)
        tokens_btd = embed(tokens_bt, valid_bt, positions_t=positions_t)[:, kept]
        if self.cfg_batch == 1:
            return FlowInputs(tokens_btd, cond_btc, spk_bd)
        uncond_btd = tokens_btd
        if self.config.speech_token_cfg:
            uncond_btd = embed(torch.full_like(tokens_bt, NULL_TOKEN), valid_bt, positions_t=positions_t)[:, kept]
        return FlowInputs(
            torch.cat([tokens_btd, uncond_btd]),
            torch.cat([cond_btc, torch.zeros_like(cond_btc)]),
            torch.cat([spk_bd, torch.zeros_like(spk_bd)]),
        )

    def velocity(
        self,
        x_btm: Tensor,
        inputs: FlowInputs,
        time_b: Tensor,
        *,
        valid_bt: Tensor | None = None,
        attention_bias_tt: Tensor | None = None,
        past: PastKV | None = None,
        use_cache: bool = False,
        modulations: Sequence[Modulation] | None = None,
    ) -> DiTOutput:
        """The guided velocity (b, t, mel); each row may be at its own solver time.

        `past`, and with `use_cache` the keys and values returned, have as many rows as `inputs`: with guidance, frames
        with the condition attend to past frames with it, and frames without to past frames without. So have
        `modulations`, see `DiT.forward`.
        """
        repeats = self.cfg_batch
        dit_inputs = DiTInputs(
            x_btm.repeat(repeats, 1, 1),
            inputs.tokens_btd,
            inputs.cond_btc,
            time_b.repeat(repeats),
            inputs.spk_bd,
            valid_bt=None if valid_bt is None else valid_bt.repeat(repeats, 1),
            attention_bias_tt=attention_bias_tt,
        )
        output: DiTOutput = self.estimator(dit_inputs, past, use_cache=use_cache, modulations=modulations)
        return DiTOutput(self._apply_cfg(output.velocity_btm), output.kv)

    def _apply_cfg(self, velocity_btm: Tensor) -> Tensor:
        """Guided velocity (b, t, mel) from those with and without the condition (2b, t, mel)."""
        if self.cfg_batch == 1:
            return velocity_btm
        w = self.config.inference_cfg_rate
        cond_btm, uncond_btm = velocity_btm.chunk(2)
        return (1 + w) * cond_btm - w * uncond_btm

    def _with_speaker(self, cond_btm: Tensor, spk_bd: Tensor) -> Tensor:
        """The condition as the estimator takes it: (b, t, c)."""
        if self.config.remove_spkr_concat_condition:
            return cond_btm
        affine = self.spk_embed_affine_layer
        spk_btm = affine(spk_bd.to(affine.weight.dtype))[:, None].expand_as(cond_btm)
        return torch.cat([cond_btm, spk_btm], dim=-1)
