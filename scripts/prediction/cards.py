"""What a GPU can do and hold, by its maker's datasheet.

Dense rates, without sparsity: https://www.nvidia.com/en-us/data-center/h100/, …/a100/, …/l4/ and the Ada whitepaper
(GeForce RTX 4090, tensor cores with float32 accumulation).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Card:
    """`memory` in GiB; `bandwidth` in bytes per second; `float32`, `tf32` and `bfloat16` in operations per second."""

    name: str
    memory: float
    bandwidth: float
    float32: float
    tf32: float
    bfloat16: float


H100 = Card("H100 SXM", 80, 3.35e12, 67e12, 495e12, 990e12)
A100 = Card("A100 SXM 80 GB", 80, 2.04e12, 19.5e12, 156e12, 312e12)
RTX_4090 = Card("RTX 4090", 24, 1.008e12, 82.6e12, 82.6e12, 165e12)
L4 = Card("L4", 24, 0.3e12, 30.3e12, 60e12, 121e12)
CARDS = (H100, A100, RTX_4090, L4)
