"""Counter-based random numbers for all models: stateless, pure functions of a key and a counter.

A number depends neither on the rest of its batch, nor on the chunk it falls into, nor on earlier calls, and can be
computed again. The hash is splitmix64 (Steele, Lea and Flood 2014), on int64, whose products wrap modulo 2^64. Keys and
counters are int64 of any value.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_GAMMA = 0x9E3779B97F4A7C15 - (1 << 64)  # 2^64 / golden ratio, odd, as int64
_ATTEMPT = 0xD1342543DE82EF95 - (1 << 64)  # odd, and no small multiple of _GAMMA: attempts never meet other segments
_ROUNDS = ((30, 0xBF58476D1CE4E5B9 - (1 << 64)), (27, 0x94D049BB133111EB - (1 << 64)))
_BITS = 24  # a float32 represents as many exactly


def stream_keys(seeds_b: Tensor, segments_b: Tensor, attempts_b: Tensor | None = None) -> Tensor:
    """int64 (b,): a key for each (seed, segment, attempt), for all its random numbers. Arguments int64 (b,).

    Attempts count from 0, and None means the first.
    """
    counter_b = (segments_b + 1) * _GAMMA
    if attempts_b is not None:
        counter_b = counter_b + attempts_b * _ATTEMPT
    return _mixed(_mixed(seeds_b + _GAMMA) + counter_b)


def uniforms(keys_b: Tensor, steps_b: Tensor) -> Tensor:
    """float32 (b, 2) in [0, 1), multiples of 2⁻²⁴: the two numbers that sampling may need at step `steps_b` ≥ 0."""
    lane = torch.arange(1, 3, device=keys_b.device)
    bits = _mixed(keys_b[:, None] + (2 * steps_b[:, None] + lane) * _GAMMA)
    return _shifted(bits, 64 - _BITS).to(torch.float32) * 2.0**-_BITS


def frame_noise(
    seeds_b: Tensor, start: int | Tensor, frames: int, mel_dim: int = 80, device: torch.device | str | None = None
) -> Tensor:
    """Standard normal noise (b, frames, mel_dim), float32, for frames start .. start + frames - 1 of each row.

    A frame has the same numbers in any window and, to about the last bit, on any device: 52 bits go through the inverse
    normal. start: one frame number for all rows, or int64 (b,); it may be negative.
    """
    device = seeds_b.device if device is None else device
    first_b = torch.as_tensor(start, dtype=torch.int64, device=device).expand(seeds_b.shape[0])
    frame_bt = first_b[:, None] + torch.arange(frames, device=device)
    counter_btm = frame_bt[..., None] * mel_dim + torch.arange(mel_dim, device=device)
    key_b = _mixed(seeds_b.to(device=device, dtype=torch.int64) + _GAMMA)
    return _normal(_shifted(_mixed(_mixed(key_b[:, None, None] + counter_btm * _GAMMA) + _GAMMA), 12))


def sample_noise(seeds_b: Tensor, start_b: Tensor, count: int) -> Tensor:
    """Standard normal noise (b, count), float32: element i of row r belongs to its sample `start_b[r]` + i.

    By Box-Muller: a mel frame has hundreds of samples, and the inverse normal costs several times as much.
    """
    index_bs = start_b[:, None] + torch.arange(count, device=seeds_b.device)
    # + 1, because zero is a fixed point of the hash and would become the largest possible number.
    bits = _mixed(_mixed(seeds_b * _GAMMA)[:, None] + (index_bs + 1) * _GAMMA)
    radius = (_shifted(bits, 64 - _BITS) + 1).float() * 2.0**-_BITS  # in (0, 1]: its logarithm is finite
    angle = (bits & ((1 << _BITS) - 1)).float() * 2.0**-_BITS
    return torch.sqrt(-2.0 * torch.log(radius)) * torch.cos(2.0 * math.pi * angle)


def _normal(bits: Tensor) -> Tensor:
    """52 uniform bits to a standard normal, float32, always finite (within 8.3)."""
    # + 0.5 keeps the uniform off 0 and 1, and it is exact in float64 because 52 bits leave room for it.
    normal: Tensor = torch.special.ndtri((bits.double() + 0.5) * 2.0**-52)
    return normal.float()


def _mixed(x: Tensor) -> Tensor:
    """splitmix64's finaliser."""
    for places, factor in _ROUNDS:
        x = (x ^ _shifted(x, places)) * factor
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, places: int) -> Tensor:
    """Logical right shift; torch's own shift of int64 copies the sign."""
    return (x >> places) & ((1 << (64 - places)) - 1)
