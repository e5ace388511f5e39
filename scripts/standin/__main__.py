"""Writes a stand-in for the published checkpoint: its tree, names, shapes and dtypes, with random weights.

    python -m scripts.standin checkpoints/standin --size published --device cuda

It loads and serves like the published one; its speech is noise.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from scripts.standin.sizes import BY_NAME
from scripts.standin.write import write_standin


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder to write; it must not exist")
    parser.add_argument("--size", choices=BY_NAME, default="published", help="default: published, 6 GB")
    parser.add_argument("--device", default="cpu", help="where the random numbers are drawn; default: cpu")
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16", help="of the llm's weights")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    options = parser.parse_args(arguments)
    if options.folder.exists():
        parser.error(f"{options.folder}: expected no such folder, got one")
    start = time.monotonic()
    dtype = getattr(torch, options.dtype)
    written = write_standin(
        options.folder, BY_NAME[options.size], device=options.device, dtype=dtype, seed=options.seed
    )
    seconds = time.monotonic() - start
    print(f"{options.folder}: {written.parameters:,} parameters, {written.size_bytes:,} bytes, {seconds:.1f} s")


if __name__ == "__main__":
    main()
