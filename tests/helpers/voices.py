"""Voices of random numbers instead of recordings, for tests of the stages after the encoders."""

from __future__ import annotations

import torch

from glmtts.checkpoint.loader import Model
from glmtts.config import MEL_BY_RATE
from glmtts.voice.voice import Voice


def made_up_voice(model: Model, tokens: int = 20, *, seed: int = 0, text: tuple[int, ...] = (5, 6, 7)) -> Voice:
    """A voice for `model` with a prompt of `tokens` speech tokens, at every sample rate."""
    generator = torch.Generator().manual_seed(seed)
    return Voice(
        speaker=torch.randn(192, generator=generator),
        prompt_tokens=torch.randint(0, model.special.speech_tokens, (tokens,), generator=generator),
        prompt_mels={rate: torch.randn(2 * tokens, 80, generator=generator) - 4.0 for rate in MEL_BY_RATE},
        prompt_text=text,
        reference_text="",
        digest=f"{seed} {tokens}",
    )
