"""Flow matching: speech tokens and a voice to mel, by Euler steps with guidance over the DiT.

Knows nothing about recordings, blocks of a stream or waveforms.
Dimension names: b batch, t time in mel frames, n tokens, m mel bins, d speaker channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glmtts.config import FlowConfig
from glmtts.errors import CheckpointError
from glmtts.models.flow.dit import NULL_TOKEN, DiT, stretch
from glmtts.models.flow.dit_cache import Past, Trace


def cosine_times(steps: int, *, device: torch.device | str | None = None) -> Tensor:
    """The steps + 1 times 1 - cos(s * pi / 2), s = 0 .. 1 evenly: small steps first. float32, from 0 to 1."""
    if steps < 1:
        raise ValueError(f"{steps} solver steps: want at least 1")
    return 1 - torch.cos(torch.linspace(0, 1, steps + 1, device=device) * (math.pi / 2))


def euler(velocity: Callable[[Tensor, Tensor], Tensor], x0: Tensor, times: Tensor) -> Tensor:
    """x(times[-1]) from x(times[0]) = x0 and dx/dt = velocity(x, t), t a 0-d tensor; len(times) - 1 calls."""
    x = x0
    for now, then in pairwise(times):
        x = x + (then - now) * velocity(x, now)
    return x


class Conditions(NamedTuple):
    """What guides b rows: each tensor has 2b rows, first those with the condition and then those without; without
    guidance b rows, the former alone."""

    tokens_btd: Tensor
    cond_btc: Tensor
    spk_bd: Tensor


class Flow(nn.Module):
    """Tokens to mel. One set of weights serves rows of several utterances: nothing of a call is kept."""

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        mel_dim = config.dit.mel_dim
        wanted = mel_dim if config.remove_spkr_concat_condition else 2 * mel_dim
        if config.dit.condition_dim != wanted:
            raise CheckpointError(
                f"flow: condition_dim {config.dit.condition_dim} came, remove_spkr_concat_condition = "
                f"{config.remove_spkr_concat_condition} wants {wanted}"
            )
        if config.t_scheduler != "cosine":
            raise CheckpointError(f"flow: t_scheduler {config.t_scheduler!r} came, only 'cosine' is known")
        self.config = config
        self.estimator = DiT(config.dit, config.spk_embed_dim)
        if not config.remove_spkr_concat_condition:
            self.spk_embed_affine_layer = nn.Linear(config.spk_embed_dim, mel_dim)

    @property
    def sides(self) -> int:
        """Rows of the estimator for one of the flow: 2, with the condition and without it; without guidance 1."""
        return 1 if self.config.inference_cfg_rate == 0 else 2

    def frames(self, tokens: int) -> int:
        """Mel frames of so many tokens as the reference counts them.

        Trap: its float division loses a frame now and then: 29 tokens at 25 Hz are 57 frames at 50 Hz, not 58.
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

        noise_btm: prompt and new frames, at least as many as are needed. spk_bd: raw speaker vectors.
        frames: new frames to make; the prompt's tokens keep their rate and the new ones are stretched over the rest.
        By default speed 1 as the reference counts it (see `frames`).
        The prompt's mel frames, not its tokens' frames, are cut off the front.
        """
        tokens_bt = self.frame_tokens(tokens_bn, prompt_tokens_bn, prompt_mel_btm.shape[1], frames)
        total = tokens_bt.shape[1]
        if noise_btm.shape[1] < total:
            raise ValueError(f"noise for {noise_btm.shape[1]} frames came, {total} are wanted")
        mel_btm = self.solve(
            tokens_bt, self.condition(prompt_mel_btm, total), spk_bd, noise_btm[:, :total], steps=steps
        )
        return mel_btm[:, prompt_mel_btm.shape[1] :].transpose(1, 2)

    def frame_tokens(
        self, tokens_bn: Tensor, prompt_tokens_bn: Tensor, prompt_frames: int, frames: int | None = None
    ) -> Tensor:
        """Prompt and new tokens, one per frame: (b, t).

        t = prompt_frames + frames, the prompt's tokens at their exact rate; the reference's count without `frames`.
        """
        both_bn = torch.cat([prompt_tokens_bn, tokens_bn], dim=1)
        if frames is None:
            return stretch(both_bn, self.frames(both_bn.shape[1]))
        prompt_own = prompt_tokens_bn.shape[1] * self.config.mel_framerate // self.config.input_frame_rate
        rest = prompt_frames + frames - prompt_own
        if rest < 1:
            raise ValueError(f"{frames} new frames came, want more than {prompt_own - prompt_frames}")
        if prompt_own == 0:
            return stretch(tokens_bn, rest)
        return torch.cat([stretch(prompt_tokens_bn, prompt_own), stretch(tokens_bn, rest)], dim=1)

    def condition(self, prompt_mel_btm: Tensor, frames: int) -> Tensor:
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
        """Mel (b, t, mel) of whole sequences, prompt included; rows may be padded, and equal themselves alone.

        Guided velocity (1 + w) * v(cond) - w * v(uncond), both in one batch of 2b; v(cond) alone where w = 0.
        uncond has a zero condition, a zero speaker and, with speech_token_cfg, null tokens.
        Padded frames keep their noise: cut them.
        """
        conditions = self.conditions(tokens_bt, cond_btm, spk_bd, valid_bt=valid_bt)

        def velocity(x_btm: Tensor, time: Tensor) -> Tensor:
            return self.velocity(
                x_btm,
                conditions,
                time.expand(len(x_btm)),
                valid_bt=valid_bt,
                attention_bias_tt=attention_bias_tt,
            )

        return euler(velocity, noise_btm, self.times(steps, device=noise_btm.device))

    def times(self, steps: int | None = None, *, device: torch.device | str | None = None) -> Tensor:
        """The solver's times, by default as many as the checkpoint says."""
        return cosine_times(self.config.n_timesteps if steps is None else steps, device=device)

    def conditions(
        self,
        tokens_bt: Tensor,
        cond_btm: Tensor,
        spk_bd: Tensor,
        *,
        valid_bt: Tensor | None = None,
        places_t: Tensor | None = None,
    ) -> Conditions:
        """What all solver steps share: frames' tokens (b, t), the prompt's mel (b, t, mel), raw speaker vectors.

        Where the mel is of the last frames only, those before it are context of the tokens' embedding and no more;
        `places_t` are then the tokens' frame numbers, see `TokenTrunk.forward`.
        """
        spk_bd = F.normalize(spk_bd, dim=-1)
        cond_btc = self._with_speaker(cond_btm, spk_bd)
        trunk = self.estimator.text_emb_layer
        kept = slice(tokens_bt.shape[1] - cond_btm.shape[1], None)
        embedded_btd = trunk(tokens_bt, valid_bt, places_t=places_t)[:, kept]
        if self.sides == 1:
            return Conditions(embedded_btd, cond_btc, spk_bd)
        unguided_btd = embedded_btd
        if self.config.speech_token_cfg:
            unguided_btd = trunk(torch.full_like(tokens_bt, NULL_TOKEN), valid_bt, places_t=places_t)[:, kept]
        return Conditions(
            torch.cat([embedded_btd, unguided_btd]),
            torch.cat([cond_btc, torch.zeros_like(cond_btc)]),
            torch.cat([spk_bd, torch.zeros_like(spk_bd)]),
        )

    def velocity(
        self,
        x_btm: Tensor,
        conditions: Conditions,
        time_b: Tensor,
        *,
        valid_bt: Tensor | None = None,
        attention_bias_tt: Tensor | None = None,
    ) -> Tensor:
        """Guided velocity (b, t, mel); each row may stand at a time of its own."""
        sides_btm = self.estimator.velocity(
            x_btm.repeat(self.sides, 1, 1),
            conditions.tokens_btd,
            conditions.cond_btc,
            time_b.repeat(self.sides),
            conditions.spk_bd,
            valid_bt=None if valid_bt is None else valid_bt.repeat(self.sides, 1),
            attention_bias_tt=attention_bias_tt,
        )
        return self._guided(sides_btm)

    def following(
        self,
        x_btm: Tensor,
        conditions: Conditions,
        time_b: Tensor,
        past: Past | None,
        *,
        valid_bt: Tensor | None = None,
    ) -> tuple[Tensor, Trace]:
        """`velocity` of frames that follow others, and the trace that they leave for those after them.

        Trace and `past` have as many rows as the conditions: frames with the condition follow such, those without such.
        """
        sides_btm, trace = self.estimator.following(
            x_btm.repeat(self.sides, 1, 1),
            conditions.tokens_btd,
            conditions.cond_btc,
            time_b.repeat(self.sides),
            conditions.spk_bd,
            past,
            valid_bt=None if valid_bt is None else valid_bt.repeat(self.sides, 1),
        )
        return self._guided(sides_btm), trace

    def _guided(self, sides_btm: Tensor) -> Tensor:
        """Guided velocity (b, t, mel) of those with the condition and those without."""
        if self.sides == 1:
            return sides_btm
        w = self.config.inference_cfg_rate
        with_cond, without = sides_btm.chunk(2)
        return (1 + w) * with_cond - w * without

    def _with_speaker(self, cond_btm: Tensor, spk_bd: Tensor) -> Tensor:
        """The condition as the estimator wants it: (b, t, c)."""
        if self.config.remove_spkr_concat_condition:
            return cond_btm
        affine = self.spk_embed_affine_layer
        spk_btm = affine(spk_bd.to(affine.weight.dtype))[:, None].expand_as(cond_btm)
        return torch.cat([cond_btm, spk_btm], dim=-1)
