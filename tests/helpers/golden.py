"""Finds and reads golden cases: a small model's weights, its inputs and the outputs to meet.

Knows nothing about the models: each test reads the sizes it needs from the case's JSON.
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
    """The directory of the golden cases: GLMTTS_GOLDEN, or those that the repository carries.

    Raises FileNotFoundError when it is no directory.
    """
    path = Path(os.environ.get("GLMTTS_GOLDEN") or _CARRIED)
    if not path.is_dir():
        raise FileNotFoundError(f"no golden cases at {path}: set GLMTTS_GOLDEN to the directory that holds them")
    return path


def reference_data() -> Path:
    """The data files of the published code, which the text cases need and the repository does not carry.

    GLMTTS_REFERENCE, or a folder beside the repository; it may not be there.
    """
    return Path(os.environ.get("GLMTTS_REFERENCE") or _REFERENCE_DATA)


def load_case(name: str) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, Tensor]]:
    """Case `name` as (its JSON, inputs and outputs by name, state dict with the prefix `state.` removed).

    A case without tensors (text) has two empty dicts.
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
    not reference_data().is_dir(), reason="the published code's data files are not here: GLMTTS_REFERENCE names them"
)
