"""Optional stage: interpolates a stage's averaged weights with those of an earlier state.

    cp nano-work/states/flow.pt nano-work/states/flow.before.pt           # fine-tune on other data, then
    python -m scripts.nano.interpolate_weights --work nano-work --stage flow --before flow.before.pt --share 0.75

Weights before and after fine-tuning are near enough that their mean is a good model too (Wortsman et al. 2022,
WiSE-FT), between what the model knew and what it learnt. Only the average, which is exported, is interpolated; training
would continue from the latest weights.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from scripts.nano.training import state_path, write_state


def interpolate(before: dict[str, Tensor], after: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """share × after + (1 − share) × before. Raises ValueError if names or shapes differ."""
    different = sorted(set(before) ^ set(after)) or [n for n in after if before[n].shape != after[n].shape]
    if different:
        raise ValueError(f"expected two states of one model, got different weights: {different[:3]} …")
    return {name: torch.lerp(before[name], value, share) for name, value in after.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("nano-work"))
    parser.add_argument("--stage", required=True, choices=("flow", "vocoder", "ar"))
    parser.add_argument("--before", required=True, help="file in WORK/states of the earlier state")
    parser.add_argument("--share", type=float, default=0.5, help="of the current state (default: %(default)s)")
    args = parser.parse_args()
    now = state_path(args.work, args.stage)
    state, before = (torch.load(file, weights_only=True) for file in (now, now.with_name(args.before)))
    modules = state["modules"]
    modules["average"] = interpolate(before["modules"]["average"], modules["average"], args.share)
    write_state(now, state)


if __name__ == "__main__":
    main()
