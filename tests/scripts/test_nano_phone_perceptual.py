"""What pulls the flow and the vocoder: the ear's distance between two mels."""

from __future__ import annotations

import torch

from scripts.nano.data import MEL_MEAN, MEL_STD
from scripts.nano.phone_perceptual import Ear, heard_apart


def test_the_same_mel_is_not_heard_apart_and_a_rougher_one_further() -> None:
    torch.manual_seed(0)
    ear = Ear(10).eval()
    true = MEL_MEAN + MEL_STD * torch.randn(2, 40, 80)
    rough = torch.randn_like(true)
    same, near, far = (heard_apart(ear, true + amount * rough, true).item() for amount in (0.0, 0.1, 1.0))
    assert same == 0
    assert near > 0
    assert far > 3 * near


def test_only_the_made_mel_is_pulled() -> None:
    torch.manual_seed(0)
    ear = Ear(10).requires_grad_(False)
    true, made = (torch.randn(1, 40, 80, requires_grad=True) for _ in range(2))
    heard_apart(ear, made, true).backward()
    assert made.grad is not None
    assert made.grad.abs().max() > 0
    assert true.grad is None
