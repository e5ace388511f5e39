"""Checks a checkpoint without loading its weights, and says what to do about each problem. Exits with 1 if any.

python -m scripts.verify_checkpoint checkpoints/nano
python -m scripts.verify_checkpoint checkpoints/glm-tts --published --tensors
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

import torch

from glmtts.checkpoint.verify import Check, verify
from glmtts.checkpoint.verify_parts import dtype_name, read_tensors
from glmtts.errors import CheckpointError


def main(arguments: list[str] | None = None) -> None:
    """Prints one table, then each problem with what to do."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--no-hashes", action="store_true", help="Don't read the files to compare them with SHA256SUMS."
    )
    parser.add_argument("--published", action="store_true", help="Also compare sizes and ids with zai-org/GLM-TTS.")
    parser.add_argument("--tensors", action="store_true", help="Also list each tensor with its shape and dtype.")
    options = parser.parse_args(arguments)
    try:
        checks = verify(options.folder, hashes=not options.no_hashes, published=options.published)
    except CheckpointError as error:
        sys.exit(f"{error}")
    print_table([*checks, *(tensors(options.folder) if options.tensors else ())])
    problems = [check for check in checks if check.problem]
    for check in problems:
        print(f"\n{check.problem}\n  What to do: {check.advice}")
    print(f"\nchecks: {len(checks)}, problems: {len(problems)}")
    sys.exit(1 if problems else 0)


def tensors(folder: Path) -> Iterable[Check]:
    """A line for each tensor in the weight files."""
    with torch.device("meta"):
        states = read_tensors(folder)
    for part, state in states.items():
        for name, value in state.items():
            yield Check(part, name, f"{dtype_name(value.dtype)} {tuple(value.shape)}")


def print_table(checks: list[Check]) -> None:
    """Columns as wide as their widest cell."""
    widths = [max(len(text) for text in column) for column in zip(*((c.part, c.what) for c in checks), strict=True)]
    for check in checks:
        result = "PROBLEM" if check.problem else "ok"
        print(f"{result:8}{check.part:{widths[0]}}  {check.what:{widths[1]}}  {check.value}")


if __name__ == "__main__":
    main()
