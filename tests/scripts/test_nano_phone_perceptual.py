"""The perceptual loss between two mels."""

from __future__ import annotations

import torch

from scripts.nano.data import MEL_MEAN, MEL_STD
from scripts.nano.phone_perceptual import PhoneRecognizer, perceptual_loss


def test_the_loss_of_equal_mels_is_zero_and_it_grows_with_noise() -> None:
    torch.manual_seed(0)
    recognizer = PhoneRecognizer(10).eval()
    true = MEL_MEAN + MEL_STD * torch.randn(2, 40, 80)
    rough = torch.randn_like(true)
    same, near, far = (perceptual_loss(recognizer, true + amount * rough, true).item() for amount in (0.0, 0.1, 1.0))
    assert same == 0
    assert near > 0
    assert far > 3 * near


def test_only_the_generated_mel_gets_a_gradient() -> None:
    torch.manual_seed(0)
    recognizer = PhoneRecognizer(10).requires_grad_(False)
    true, made = (torch.randn(1, 40, 80, requires_grad=True) for _ in range(2))
    perceptual_loss(recognizer, made, true).backward()
    assert made.grad is not None
    assert made.grad.abs().max() > 0
    assert true.grad is None
