from __future__ import annotations

import torch

from glmtts.models.hift_source import counter_normal


def test_any_window_has_the_same_numbers() -> None:
    """Numbers depend on seed and index alone: a window, at a different place in every row, is a slice of the whole."""
    seeds = torch.tensor([0, 1, -(2**63), 2**63 - 1])
    whole = counter_normal(seeds, torch.zeros(4, dtype=torch.int64), 300)
    starts = torch.tensor([0, 17, 100, 250])
    window = counter_normal(seeds, starts, 50)
    expected = torch.stack([row[start : start + 50] for row, start in zip(whole, starts.tolist(), strict=True)])
    assert torch.equal(window, expected)


def test_distribution() -> None:
    """Numbers are standard normal: mean, variance and the share beyond 1, 2 and 3 within 5 standard errors."""
    count = 400_000
    numbers = counter_normal(torch.tensor([42]), torch.tensor([0]), count)[0].double()
    assert abs(numbers.mean()) < 5 / count**0.5
    assert abs(numbers.var() - 1) < 5 * (2 / count) ** 0.5
    for limit, share in ((1, 0.317311), (2, 0.045500), (3, 0.002700)):
        error = (share * (1 - share) / count) ** 0.5
        assert abs((numbers.abs() > limit).double().mean() - share) < 5 * error


def test_seeds_and_neighbours_are_uncorrelated() -> None:
    """Rows of neighbouring seeds share nothing, shifted or not, and neither do neighbouring indices."""
    count = 100_000
    rows = counter_normal(torch.arange(6), torch.zeros(6, dtype=torch.int64), count).double()
    for shift in (0, 1, 2):
        products = rows[:, : count - shift] @ rows[:, shift:].T / count
        if shift == 0:
            products.fill_diagonal_(0.0)
        assert products.abs().max() < 5 / count**0.5


def test_small_seeds_start_with_ordinary_numbers() -> None:
    """No small seed begins with an extreme number: 0, a fixed point of the hash, is a seed like others."""
    seeds = torch.arange(-50, 50)
    assert counter_normal(seeds, torch.zeros_like(seeds), 1).abs().max() < 4.5
