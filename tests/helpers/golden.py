"""Reads golden cases: the weights of a small model, its inputs and its expected outputs.

Each test reads the sizes it needs from the case's JSON.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]
_CARRIED = ROOT / "tests" / "golden"
_REFERENCE_DATA = ROOT.parent / "shared" / "data" / "reference"


def golden_dir() -> Path:
    """The directory of the golden cases: GLMTTS_GOLDEN, or the repository's.

    Raises FileNotFoundError if it is not a directory.
    """
    path = Path(os.environ.get("GLMTTS_GOLDEN") or _CARRIED)
    if not path.is_dir():
        raise FileNotFoundError(f"GLMTTS_GOLDEN: expected the directory of the golden cases, got {path}")
    return path


def reference_data() -> Path:
    """The published code's data files, which the text cases need and which are not in the repository.

    GLMTTS_REFERENCE, or a folder beside the repository; it may not exist.
    """
    return Path(os.environ.get("GLMTTS_REFERENCE") or _REFERENCE_DATA)


def load_case(name: str) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, Tensor]]:
    """Case `name`: its JSON, inputs and outputs by name, and its state dict without the prefix `state.`.

    The two dicts of a case without tensors (text) are empty.
    """
    path = golden_dir() / f"{name}.json"
    info: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    packed = path.with_suffix(".safetensors")
    everything = load_file(packed) if packed.exists() else {}
    prefix = "state."
    state = {key.removeprefix(prefix): value for key, value in everything.items() if key.startswith(prefix)}
    tensors = {key: value for key, value in everything.items() if not key.startswith(prefix)}
    return info, tensors, state


needs_reference = pytest.mark.skipif(
    not reference_data().is_dir(), reason="needs the published code's data files (GLMTTS_REFERENCE)"
)
