"""Measured paces: audio seconds per second by number of listeners, from the tables of docs/performance.md.

`first_audio` and `overhead` are fitted to the medians of the first audio in the same tables.
"""

from __future__ import annotations

from scripts.simulation.node import Pace

CPU = Pace(
    "cpu", {1: 7.29, 2: 10.01, 4: 13.29, 8: 13.56, 16: 15.37}, first_audio=1.4, overhead=0.03, slots=15
)  # fmt: skip
"""nano on two CPU cores. 15 streams: 16 would get less audio than they hear."""
GPU = Pace("gpu", {1: 23.5, 4: 30.2, 8: 46.6, 16: 64.9}, first_audio=2.0, overhead=0.025, slots=16)
"""nano on an NVIDIA H100, with CUDA graphs."""
PACES = {pace.name: pace for pace in (CPU, GPU)}
