"""What a voice is made of as a file, so that it need not be made again: safetensors, which holds no code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from glmtts.dsp.audio import FRAMES_PER_TOKEN
from glmtts.voice.voice import Voice

FORMAT = 1
"""Increase it when `make_voice` makes something else of the same recording."""


def encode(voice: Voice, reference_ids: Sequence[int]) -> bytes:
    """The file of a voice. `reference_ids`: of its whole text, as the front end has them now."""
    mels = {f"prompt_mel_{rate}": mel.contiguous() for rate, mel in voice.prompt_mels.items()}
    return save(
        {
            **_key(voice.digest, reference_ids),
            "speaker": voice.speaker.contiguous(),
            "prompt_tokens": voice.prompt_tokens.contiguous(),
            "prompt_text": torch.tensor(voice.prompt_text, dtype=torch.int64),
            **mels,
        }
    )


def decode(
    data: bytes,
    digest: str,
    reference_text: str,
    reference_ids: Sequence[int],
    rates: Sequence[int],
    language: Literal["en", "zh"] | None = None,
) -> Voice | None:
    """The voice in a file, for the output rates `rates` in Hz. `language` as in `VoiceMaker.make_voice`.

    None if the file is damaged, of another voice or rate, or made when the front end read the text in another way.
    """
    try:
        tensors = load(data)
        expected = _key(digest, reference_ids)
        if not all(_same(tensors[name], value) for name, value in expected.items()):
            return None
        voice = Voice(
            speaker=tensors["speaker"],
            prompt_tokens=tensors["prompt_tokens"],
            prompt_mels={rate: tensors[f"prompt_mel_{rate}"] for rate in rates},
            prompt_text=tuple(tensors["prompt_text"].tolist()),
            reference_text=reference_text,
            digest=digest,
            language=language,
        )
    except (SafetensorError, KeyError, ValueError):
        return None
    return voice if _is_well_formed(voice) else None


def _same(a: Tensor, b: Tensor) -> bool:
    """torch.equal raises for some pairs of types."""
    return a.dtype == b.dtype and torch.equal(a, b)


def _key(digest: str, reference_ids: Sequence[int]) -> dict[str, Tensor]:
    """What must be the same for the file to be used."""
    return {
        "format": torch.tensor([FORMAT]),
        "digest": torch.tensor(list(bytes.fromhex(digest)), dtype=torch.uint8),
        "reference_ids": torch.tensor(list(reference_ids), dtype=torch.int64),
    }


def _is_well_formed(voice: Voice) -> bool:
    n = len(voice.prompt_tokens)
    floats = (voice.speaker, *voice.prompt_mels.values())
    return (
        voice.speaker.shape == (192,)
        and voice.prompt_tokens.shape == (n,)
        and voice.prompt_tokens.dtype == torch.int64
        and all(mel.shape == (n * FRAMES_PER_TOKEN, 80) for mel in voice.prompt_mels.values())
        and all(tensor.dtype == torch.float32 and bool(torch.isfinite(tensor).all()) for tensor in floats)
    )
