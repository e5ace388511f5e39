"""Stage, optional: a stage's averaged weights, mixed with what they were at another time.

    cp nano-work/states/flow.pt nano-work/states/flow.before.pt           # and train on something else, then
    python -m scripts.nano.interpolate_weights --work nano-work --stage flow --before flow.before.pt --share 0.75

Weights of which the one were trained on from the other lie near enough that their mean is a model too (Wortsman et al.
2022, WiSE-FT): it has something of what the new speech taught, and of what the old had. Only the average is mixed,
which export takes; training would go on from where it stood.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from scripts.nano.training import state_path, write_state


def mixed(before: dict[str, Tensor], after: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """`share` of each weight after, the rest of it before. Raises ValueError where they are not of one shape."""
    apart = sorted(set(before) ^ set(after)) or [n for n in after if before[n].shape != after[n].shape]
    if apart:
        raise ValueError(f"the states are of different models: {apart[:3]} …")
    return {name: torch.lerp(before[name], value, share) for name, value in after.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("nano-work"))
    parser.add_argument("--stage", required=True, choices=("flow", "vocoder", "ar"))
    parser.add_argument("--before", required=True, help="the other state's file in WORK/states")
    parser.add_argument("--share", type=float, default=0.5, help="of the state as it is now (default %(default)s)")
    args = parser.parse_args()
    now = state_path(args.work, args.stage)
    state, before = (torch.load(file, weights_only=True) for file in (now, now.with_name(args.before)))
    modules = state["modules"]
    modules["average"] = mixed(before["modules"]["average"], modules["average"], args.share)
    write_state(now, state)


if __name__ == "__main__":
    main()
