"""Compares this implementation with golden cases: `python -m glmtts.parity DIR`.

A case is NAME.json (its description and configuration) and NAME.safetensors (weights under `state.`, inputs and
outputs); the beginning of NAME is its kind. Prints one row per comparison, and exits with 1 if one is over its limit.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from glmtts.errors import GlmTtsError
from glmtts.parity.cases import KINDS, Case, CaseResult, Sources

CAMPPLUS_VARIABLE = "GLMTTS_CAMPPLUS"
CAMPPLUS_DEFAULTS = ("checkpoints/nano/frontend/campplus.onnx", "checkpoints/nano/frontend/campplus.pt")


def read_case(path: Path) -> Case:
    """The case of the JSON file `path`, with its tensors if it has any. Raises OSError or ValueError."""
    info: Any = json.loads(path.read_text(encoding="utf-8"))
    packed = path.with_suffix(".safetensors")
    tensors = load_file(packed) if packed.exists() else {}
    state = {name.removeprefix("state."): value for name, value in tensors.items() if name.startswith("state.")}
    return Case(path.stem, info, {k: v for k, v in tensors.items() if not k.startswith("state.")}, state)


def compare(case: Case, sources: Sources) -> Iterator[CaseResult]:
    """The results of one case. A case for information has no limits."""
    kind = max((kind for kind in KINDS if case.name.startswith(kind)), key=len, default=None)
    if kind is None:
        raise ValueError(f"case: expected a name that begins with one of {', '.join(sorted(KINDS))}, got {case.name}")
    for row in KINDS[kind](case, sources):
        yield replace(row, limit=None) if case.information else row


def run(folder: Path, sources: Sources) -> list[CaseResult]:
    """Compares all cases in `folder`. A case that cannot be read or computed is a failed result with the reason."""
    rows: list[CaseResult] = []
    for path in sorted(folder.glob("*.json")):
        case = None
        try:
            case = read_case(path)
            rows.extend(compare(case, sources))
        except (GlmTtsError, OSError, ValueError, KeyError, RuntimeError, TypeError, SafetensorError) as error:
            first = (str(error).splitlines() or [""])[0]
            limit = None if case is not None and case.information else 0.0
            rows.append(CaseResult(path.stem, None, limit, f"not computed: {type(error).__name__}: {first}"))
    return rows


def table(rows: Iterable[CaseResult]) -> str:
    """The results as aligned text: case, difference, limit, verdict, note."""
    cells = [("case", "max difference", "limit", "", "")]
    cells += [(row.case, _number(row.difference), _number(row.limit), row.verdict, row.note) for row in rows]
    widths = [max(_width(line[column]) for line in cells) for column in range(4)]
    lines = ("  ".join(_pad(text, width) for text, width in zip(line, [*widths, 0], strict=True)) for line in cells)
    return "\n".join(line.rstrip() for line in lines)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return str(int(value)) if math.isfinite(value) and value == int(value) else f"{value:.2e}"


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def _pad(text: str, width: int) -> str:
    return text + " " * (width - _width(text))


def _campplus(option: Path | None) -> Path | None:
    """The speaker encoder's weights: the option, else the environment, else the first default that exists."""
    given = option or (Path(value) if (value := os.environ.get(CAMPPLUS_VARIABLE)) else None)
    root = Path(__file__).resolve().parents[2]
    return given or next((root / name for name in CAMPPLUS_DEFAULTS if (root / name).exists()), None)


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status: 0 if all are within limits, 1 if not, 2 if there are no cases."""
    parser = argparse.ArgumentParser(prog="python -m glmtts.parity", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of golden cases")
    parser.add_argument(
        "--campplus",
        type=Path,
        help=f"weights of the speaker encoder (.onnx or .pt), which its cases do not contain; default "
        f"{CAMPPLUS_VARIABLE}, else {' or '.join(CAMPPLUS_DEFAULTS)}",
    )
    parser.add_argument(
        "--reference", type=Path, help="data files of the published code; default FOLDER/../data/reference"
    )
    options = parser.parse_args(arguments)
    if not options.folder.is_dir():
        parser.error(f"folder: expected a folder, got {options.folder}")
    reference = options.reference or options.folder / ".." / "data" / "reference"
    with torch.inference_mode():
        rows = run(options.folder, Sources(_campplus(options.campplus), reference))
    if not rows:
        print(f"no golden cases in {options.folder}", file=sys.stderr)
        return 2
    print(table(rows))
    over = [row for row in rows if not row.passed]
    print(f"\n{len(rows) - len(over)} of {len(rows)} rows within their limits" + (", the others OVER" if over else ""))
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
