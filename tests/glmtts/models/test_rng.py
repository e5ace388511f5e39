"""Random numbers as functions of a key and a counter."""

from __future__ import annotations

import math

import pytest
import torch

from glmtts.models.rng import _normal, frame_noise, sample_noise, stream_keys, uniforms

LARGEST = 1 - 2.0**-24
"""The largest number that `uniforms` returns."""


def splitmix(x: int) -> int:
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) % 2**64
    return x ^ (x >> 31)


@pytest.mark.parametrize("seed", [0, 1, 12345, 2**63 - 1])
def test_the_numbers_are_splitmix64s(seed: int) -> None:
    """The tensors' wrapping arithmetic equals that of unbounded integers modulo 2^64."""
    gamma, segment, step = 0x9E3779B97F4A7C15, 5, 77
    key = splitmix((splitmix((seed + gamma) % 2**64) + (segment + 1) * gamma) % 2**64)
    expected = [(splitmix((key + (2 * step + lane) * gamma) % 2**64) >> 40) / 2**24 for lane in (1, 2)]
    got = uniforms(stream_keys(torch.tensor([seed]), torch.tensor([segment])), torch.tensor([step]))
    assert got.tolist() == [expected]


def test_attempts_have_their_own_numbers() -> None:
    """The first attempt's key is that of the segment; no other attempt at any segment shares a key."""
    segments, attempts = torch.arange(1000).repeat_interleave(4), torch.arange(4).repeat(1000)
    keys = stream_keys(torch.full((4000,), 9), segments, attempts)
    assert keys.unique().numel() == 4000
    assert torch.equal(keys[::4], stream_keys(torch.full((1000,), 9), torch.arange(1000)))


@pytest.mark.parametrize("axis", ["seed", "segment", "attempt", "step"])
def test_the_numbers_are_uniform_and_independent(axis: str) -> None:
    """Along each part of the counter numbers fill [0, 1) evenly, without correlation between neighbours or lanes."""
    n = 40_000
    along, fixed = torch.arange(n), torch.full((n,), 3)
    names = ("seed", "segment", "attempt", "step")
    seed, segment, attempt, step = (along if axis == name else fixed for name in names)
    u = uniforms(stream_keys(seed, segment, attempt), step)
    assert u.dtype == torch.float32
    assert u.min() >= 0
    assert u.max() <= LARGEST
    counts = torch.stack([torch.histc(lane, 64, 0, 1) for lane in u.T])
    chi_square = ((counts - n / 64) ** 2 / (n / 64)).sum(1)
    assert ((chi_square - 63).abs() < 6 * math.sqrt(2 * 63)).all()
    pairs = torch.stack([u[:-1, 0], u[1:, 0], u[:-1, 1], u[1:, 1]])
    off_diagonal = torch.corrcoef(pairs.double()) - torch.eye(4)
    assert off_diagonal.abs().max() < 6 / math.sqrt(n)


def test_frame_noise_window() -> None:
    """Any window of the noise, of any row at any start, has the same numbers."""
    seeds = torch.tensor([7, 8, -(2**63), 2**63 - 1])
    whole = frame_noise(seeds, -10, 60, 80)
    assert torch.equal(frame_noise(seeds, 3, 20, 80), whole[:, 13:33])
    assert torch.equal(frame_noise(seeds[2:3], 3, 1, 80), whole[2:3, 13:14])
    starts = torch.tensor([0, 5, -10, 39])
    rows = frame_noise(seeds, starts, 11, 80)
    for row, start in enumerate(starts.tolist()):
        assert torch.equal(rows[row], whole[row, start + 10 : start + 21])


def test_frame_noise_is_standard_normal() -> None:
    """Moments, tails and quantiles are those of N(0, 1) within 4.5 standard errors, for neighbouring seeds alike."""
    for seed in (0, 1, -1, 12345678901234567):
        z = frame_noise(torch.tensor([seed]), 0, 2500, 80).flatten().double()
        n = z.numel()
        assert z.isfinite().all()
        for power, (mean, variance) in {1: (0, 1), 2: (1, 2), 3: (0, 15), 4: (3, 96)}.items():
            assert abs((z**power).mean() - mean) < 4.5 * math.sqrt(variance / n)
        for edge in (-3.0, -1.0, -0.3, 0.0, 0.7, 2.0, 3.5):
            p = 0.5 * math.erfc(edge / math.sqrt(2))
            assert abs((z > edge).double().mean() - p) < 4.5 * math.sqrt(p * (1 - p) / n)


def test_extreme_bits_stay_finite() -> None:
    """The lowest and the highest 52 bits give opposite, finite numbers."""
    low, high = _normal(torch.tensor([0, 2**52 - 1])).tolist()
    assert -8.3 < low < -8
    assert high == -low


def test_frame_noise_is_uncorrelated() -> None:
    """Frames, bins and seeds are uncorrelated, in value and in size."""
    z = frame_noise(torch.arange(2), 0, 2500, 80).double()
    pairs = {
        "next bin": (z[..., 1:], z[..., :-1]),
        "next frame": (z[:, 1:], z[:, :-1]),
        "40 frames on": (z[:, 40:], z[:, :-40]),
        "next seed": (z[0], z[1]),
    }
    for name, (a, b) in pairs.items():
        limit = 4.5 / math.sqrt(a.numel())
        assert abs((a * b).mean()) < limit, name
        assert abs(((a**2 - 1) * (b**2 - 1)).mean()) < 2 * limit, name


def test_frame_noise_follows_its_definition() -> None:
    """The numbers are those of splitmix64 in plain integers: no device or version may change them."""
    step = 0x9E3779B97F4A7C15
    for seed, frame, mel_bin in [(0, 0, 0), (-3, 17, 79), (2**62, -4, 5)]:
        key = splitmix((seed + step) % 2**64)
        bits = splitmix((splitmix((key + (frame * 80 + mel_bin) * step) % 2**64) + step) % 2**64) >> 12
        uniform = torch.tensor((bits + 0.5) / 2**52, dtype=torch.float64)
        got = frame_noise(torch.tensor([seed]), frame, 1, 80)[0, 0, mel_bin]
        assert got.item() == pytest.approx(torch.special.ndtri(uniform).item(), abs=1e-6)


def test_any_window_of_samples_has_the_same_numbers() -> None:
    """Numbers depend on seed and index alone: a window, at a different place in every row, is a slice of the whole."""
    seeds = torch.tensor([0, 1, -(2**63), 2**63 - 1])
    whole = sample_noise(seeds, torch.zeros(4, dtype=torch.int64), 300)
    starts = torch.tensor([0, 17, 100, 250])
    window = sample_noise(seeds, starts, 50)
    expected = torch.stack([row[start : start + 50] for row, start in zip(whole, starts.tolist(), strict=True)])
    assert torch.equal(window, expected)


def test_sample_noise_is_standard_normal() -> None:
    """Numbers are standard normal: mean, variance and the share beyond 1, 2 and 3 within 5 standard errors."""
    count = 400_000
    numbers = sample_noise(torch.tensor([42]), torch.tensor([0]), count)[0].double()
    assert abs(numbers.mean()) < 5 / count**0.5
    assert abs(numbers.var() - 1) < 5 * (2 / count) ** 0.5
    for limit, share in ((1, 0.317311), (2, 0.045500), (3, 0.002700)):
        error = (share * (1 - share) / count) ** 0.5
        assert abs((numbers.abs() > limit).double().mean() - share) < 5 * error


def test_sample_noise_of_seeds_and_neighbours_are_uncorrelated() -> None:
    """Rows of neighbouring seeds share nothing, shifted or not, and neither do neighbouring indices."""
    count = 100_000
    rows = sample_noise(torch.arange(6), torch.zeros(6, dtype=torch.int64), count).double()
    for shift in (0, 1, 2):
        products = rows[:, : count - shift] @ rows[:, shift:].T / count
        if shift == 0:
            products.fill_diagonal_(0.0)
        assert products.abs().max() < 5 / count**0.5


def test_small_seeds_start_with_ordinary_numbers() -> None:
    """No small seed begins with an extreme number: 0, a fixed point of the hash, is a seed like others."""
    seeds = torch.arange(-50, 50)
    assert sample_noise(seeds, torch.zeros_like(seeds), 1).abs().max() < 4.5
