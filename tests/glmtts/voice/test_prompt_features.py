"""Voices as files."""

from __future__ import annotations

from dataclasses import replace

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from glmtts.voice import prompt_features
from glmtts.voice.voice import Voice

DIGEST, OTHER = "ab" * 32, "cd" * 32
IDS = (7, 8, 9)
RATES = (24000, 32000)


def voice(tokens: int = 5) -> Voice:
    generator = torch.Generator().manual_seed(1)
    return Voice(
        speaker=torch.randn(192, generator=generator),
        prompt_tokens=torch.arange(tokens),
        prompt_mels={rate: torch.randn(2 * tokens, 80, generator=generator) for rate in RATES},
        prompt_text=(7, 8),
        reference_text="Hello.",
        digest=DIGEST,
    )


FILE = prompt_features.encode(voice(), IDS)


@pytest.mark.parametrize("tokens", [0, 1, 200])
def test_a_voice_is_the_same_afterwards(tokens: int) -> None:
    """Every number of it."""
    before = voice(tokens)
    after = prompt_features.decode(prompt_features.encode(before, IDS), DIGEST, "Hello.", IDS, RATES)
    assert after is not None
    torch.testing.assert_close(after.speaker, before.speaker, rtol=0, atol=0)
    torch.testing.assert_close(after.prompt_tokens, before.prompt_tokens, rtol=0, atol=0)
    torch.testing.assert_close(dict(after.prompt_mels), dict(before.prompt_mels), rtol=0, atol=0)
    assert (after.prompt_text, after.reference_text, after.digest) == ((7, 8), "Hello.", DIGEST)


def test_the_file_of_something_else_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another recording or text, another reading of the text, a rate that is missing, an older program."""
    assert prompt_features.decode(FILE, OTHER, "Hello.", IDS, RATES) is None
    assert prompt_features.decode(FILE, DIGEST, "Hello.", (7, 8), RATES) is None
    assert prompt_features.decode(FILE, DIGEST, "Hello.", IDS, (24000, 48000)) is None
    assert prompt_features.decode(FILE, DIGEST, "Hello.", IDS, (24000,)) is not None
    monkeypatch.setattr(prompt_features, "FORMAT", 2)
    assert prompt_features.decode(FILE, DIGEST, "Hello.", IDS, RATES) is None


def test_a_voice_that_cannot_be_is_not_used() -> None:
    """Numbers that are none, and parts whose lengths do not fit, would break the request."""
    good = voice()
    for bad in (
        replace(good, speaker=good.speaker[:100]),
        replace(good, speaker=good.speaker * float("nan")),
        replace(good, prompt_tokens=good.prompt_tokens[:4]),
        replace(good, prompt_tokens=good.prompt_tokens.float()),
        replace(good, prompt_mels={**good.prompt_mels, 32000: good.prompt_mels[32000][:, :40]}),
    ):
        assert prompt_features.decode(prompt_features.encode(bad, IDS), DIGEST, "Hello.", IDS, RATES) is None


@given(st.integers(0, len(FILE) - 1), st.integers(1, 255))
def test_a_damaged_file_raises_nothing(position: int, change: int) -> None:
    """Neither cut off nor with another byte anywhere."""
    assert prompt_features.decode(FILE[:position], DIGEST, "Hello.", IDS, RATES) is None
    damaged = bytearray(FILE)
    damaged[position] ^= change
    prompt_features.decode(bytes(damaged), DIGEST, "Hello.", IDS, RATES)
