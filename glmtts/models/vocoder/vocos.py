"""The 32 kHz vocoder (Vocos, Siuzdak 2023, arXiv:2306.00814): a TorchScript generator behind the `Vocoder` interface.

A TorchScript file is code, so it is loaded only if its sha256 is the expected one.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glmtts.config import MEL_32K
from glmtts.errors import CheckpointError

MEL_OFFSET = -7.847762537473608
"""Added to the log-mel: the generator was trained on mels of a different scale."""


class Vocos(nn.Module):
    """Log-mel (b, c, t) to waveform (b, t × hop).

    The generator maps (b, t, c) to (b, samples) or (b, 1, samples). It is deterministic and stateless: seeds and
    phases are there for the interface `glmtts.models.vocoder.interface.Vocoder`.
    """

    # Vocos is local (eight ConvNeXt blocks of 7 frames), but the file may contain anything.
    is_windowable = False
    context_frames = 32

    def __init__(self, generator: nn.Module, *, sample_rate: int = MEL_32K.sample_rate, hop: int = MEL_32K.hop) -> None:
        super().__init__()
        self.generator = generator
        self.sample_rate = sample_rate
        self.hop = hop

    def forward(self, mel_bct: Tensor, seeds_b: Tensor) -> Tensor:
        """A whole utterance. Raises CheckpointError if the generator's rate is not `hop` samples per frame."""
        return self.render_window(mel_bct, seeds_b)[0]

    def render_window(
        self,
        mel_bct: Tensor,
        seeds_b: Tensor,
        *,
        start_frame: int | Tensor = 0,
        history: int | Tensor = 0,
        phase_b: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Waveform (b, t × hop) of some frames of an utterance, and phases (b, t) of zeros."""
        frames = mel_bct.shape[2]
        doubled_bct = mel_bct.repeat(1, 1, 2) if frames == 1 else mel_bct  # the generator needs two frames
        wave = self.generator(doubled_bct.transpose(1, 2) + MEL_OFFSET)
        wave_bs = wave[:, 0] if wave.ndim == 3 else wave
        expected = doubled_bct.shape[2] * self.hop
        if abs(wave_bs.shape[-1] - expected) >= self.hop:
            raise CheckpointError(
                f"32 kHz vocoder: expected {self.hop} samples per frame, got {wave_bs.shape[-1]} samples for "
                f"{doubled_bct.shape[2]} frames"
            )
        # An inverse STFT may end up to one frame early or late; the interface's length is exact.
        wave_bs = F.pad(wave_bs, (0, frames * self.hop - wave_bs.shape[-1]))
        return wave_bs.clamp(-1.0, 1.0), mel_bct.new_zeros(mel_bct.shape[0], frames, dtype=torch.float64)


def load_vocos(path: Path, *, sha256: str | None, device: torch.device | str = "cpu") -> Vocos:
    """The vocoder in the TorchScript file `path`, whose sha256 (hexadecimal) must be `sha256`.

    Raises CheckpointError if `sha256` is missing, or the file is missing, has another hash, or is not TorchScript.
    """
    if not sha256:
        raise CheckpointError(
            f"{path}: expected sha256 of this TorchScript file, got none; it is code, and is not loaded without"
        )
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from error
    actual = hashlib.sha256(data).hexdigest()
    if actual != sha256.lower():
        raise CheckpointError(f"{path}: expected sha256 {sha256.lower()}, got {actual}; the file was not loaded")
    try:
        with warnings.catch_warnings():
            # PyTorch advises against TorchScript; the official file is TorchScript.
            warnings.filterwarnings("ignore", "`torch.jit.load` is deprecated", category=Warning)
            # The bytes that were hashed: the file may have changed since then.
            generator = torch.jit.load(io.BytesIO(data), map_location=device)  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        raise CheckpointError(f"{path}: not TorchScript: {error}") from error
    return Vocos(generator.eval())
