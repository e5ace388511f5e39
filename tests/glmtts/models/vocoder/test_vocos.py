from __future__ import annotations

import hashlib
import io
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from glmtts.errors import CheckpointError
from glmtts.models.vocoder.interface import Vocoder
from glmtts.models.vocoder.vocos import MEL_OFFSET, Vocos, load_vocos

HOP = 640


class Held(nn.Module):
    """Each frame's mean over its bins, held for 640 samples; like the real one, it fails on a single frame."""

    def forward(self, mel_btc: Tensor) -> Tensor:
        if mel_btc.shape[1] < 2:
            raise RuntimeError("needs two frames")
        return mel_btc.mean(2).repeat_interleave(640, dim=1)


class HeldWithChannel(Held):
    def forward(self, mel_btc: Tensor) -> Tensor:
        return super().forward(mel_btc)[:, None]


class Resized(nn.Module):
    """640 samples per frame, and `extra` more."""

    def __init__(self, extra: int) -> None:
        super().__init__()
        self.extra = extra

    def forward(self, mel_btc: Tensor) -> Tensor:
        return torch.full((mel_btc.shape[0], 640 * mel_btc.shape[1] + self.extra), 0.5)


@pytest.fixture
def held_file(tmp_path: Path) -> tuple[Path, str]:
    """A TorchScript file and its sha256."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit.(script|save)` is deprecated")
        buffer = io.BytesIO()
        torch.jit.save(torch.jit.script(Held()), buffer)
    path = tmp_path / "generator_jit.ckpt"
    path.write_bytes(buffer.getvalue())
    return path, hashlib.sha256(buffer.getvalue()).hexdigest()


def soft_mel(batch: int, frames: int) -> Tensor:
    return 0.1 * torch.randn(batch, 80, frames) - MEL_OFFSET


def test_pinned_file_speaks(held_file: tuple[Path, str]) -> None:
    """The file gives 640 samples per frame, from the mel with its offset; the sha256 may be in upper case."""
    path, sha256 = held_file
    vocoder: Vocoder = load_vocos(path, sha256=sha256.upper())
    assert (vocoder.sample_rate, vocoder.hop) == (32000, HOP)
    mel = soft_mel(2, 3)
    wave = vocoder(mel, torch.tensor([1, 2]))
    expected = (mel + MEL_OFFSET).mean(1).repeat_interleave(HOP, 1)
    torch.testing.assert_close(wave, expected, rtol=0, atol=1e-5)


def test_single_frame_is_doubled(held_file: tuple[Path, str]) -> None:
    """The generator gets a single frame twice, and one frame of audio is returned."""
    path, sha256 = held_file
    assert load_vocos(path, sha256=sha256)(soft_mel(1, 1), torch.tensor([1])).shape == (1, HOP)


def test_windows_need_no_state(held_file: tuple[Path, str]) -> None:
    """A window's frames equal those of the whole, and the phases that the interface needs are zero."""
    path, sha256 = held_file
    vocoder, mel, seeds = load_vocos(path, sha256=sha256), soft_mel(1, 5), torch.tensor([1])
    wave, phases = vocoder.render_window(mel[:, :, 2:], seeds, start_frame=2, history=1, phase_b=torch.zeros(1))
    torch.testing.assert_close(wave, vocoder(mel, seeds)[:, 2 * HOP :])
    assert phases.tolist() == [[0.0, 0.0, 0.0]]


def test_channel_axis_is_dropped() -> None:
    """A generator that returns (b, 1, samples) gives the same as one that returns (b, samples)."""
    mel, seeds = soft_mel(2, 3), torch.tensor([1, 2])
    torch.testing.assert_close(Vocos(HeldWithChannel())(mel, seeds), Vocos(Held())(mel, seeds))


@pytest.mark.parametrize("extra", [-HOP + 1, -10, 10, HOP - 1])
def test_length_is_exact(extra: int) -> None:
    """A generator that ends less than one frame early or late still gives exactly 640 samples a frame."""
    wave = Vocos(Resized(extra))(soft_mel(1, 4), torch.tensor([1]))
    assert wave.shape == (1, 4 * HOP)
    assert (wave == 0.5).sum().item() == 4 * HOP + min(extra, 0)


def test_other_rate_is_refused() -> None:
    """A generator with another hop is an error with expected and actual values."""
    with pytest.raises(CheckpointError, match="expected 640 samples per frame, got 3200 samples for 4 frames"):
        Vocos(Resized(HOP))(soft_mel(1, 4), torch.tensor([1]))


@pytest.mark.parametrize("pin", [None, ""])
def test_unpinned_file_is_refused(held_file: tuple[Path, str], pin: str | None) -> None:
    """Without an expected sha256 nothing is loaded."""
    with pytest.raises(CheckpointError, match="expected sha256"):
        load_vocos(held_file[0], sha256=pin)


def test_other_file_is_refused(held_file: tuple[Path, str]) -> None:
    """A file other than the pinned one is refused; the message names both hashes."""
    path, sha256 = held_file
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(CheckpointError, match=f"expected sha256 {sha256}, got [0-9a-f]{{64}}"):
        load_vocos(path, sha256=sha256)


def test_missing_file(tmp_path: Path) -> None:
    """A missing file is a CheckpointError that says so."""
    with pytest.raises(CheckpointError, match="No such file"):
        load_vocos(tmp_path / "none.ckpt", sha256="0" * 64)


def test_no_torchscript(tmp_path: Path) -> None:
    """A file with the right hash that is not TorchScript is a CheckpointError."""
    path = tmp_path / "generator_jit.ckpt"
    path.write_bytes(b"no zip archive")
    with pytest.raises(CheckpointError, match="not TorchScript"):
        load_vocos(path, sha256=hashlib.sha256(b"no zip archive").hexdigest())
