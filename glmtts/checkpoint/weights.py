"""Weight files to state dicts, and state dicts into modules: nothing missing, nothing left over.

Pickled files are read with `weights_only=True`: tensors and plain containers, never code.

Under `with torch.device("meta")` the same functions check names, shapes and dtypes without reading any weights.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from glmtts.errors import CheckpointError

State = dict[str, Tensor]
M = TypeVar("M", bound=nn.Module)

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "BOOL": torch.bool,
}
"""safetensors' names of number formats; any other, such as I8, stands for quantised weights."""


def read_json(path: Path) -> Any:
    """The JSON document in `path`; CheckpointError if it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # ValueError: neither UTF-8 nor JSON
        raise CheckpointError(f"{path}: not readable as JSON: {error}") from error


def read_json_object(path: Path) -> dict[str, Any]:
    """As `read_json`, for a file that must contain an object."""
    values = read_json(path)
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: expected a JSON object, got {type(values).__name__}")
    return values


def read_torch(path: Path) -> State:
    """A state dict saved by torch, bare or under the key `model`. CheckpointError if it is anything else."""
    try:
        loaded = torch.load(path, map_location=_default_device(), weights_only=True)
    except Exception as error:  # a damaged pickle may raise anything
        raise CheckpointError(f"{path}: not readable as a torch file of tensors: {_first_line(error)}") from error
    state = loaded.get("model", loaded) if isinstance(loaded, Mapping) else loaded
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{path}: expected names mapped to tensors, bare or under 'model', got something else")
    return dict(state)


def read_safetensors(folder: Path, pattern: str = "model*.safetensors") -> State:
    """All shards in `folder`, merged. If there is an index file, exactly the shards that it lists.

    Raises CheckpointError if a shard is missing or damaged, or if two shards have the same name.
    """
    state: State = {}
    for path in _shards(folder, pattern):
        try:
            shard = _read_headers(path) if _default_device().type == "meta" else load_file(path)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{path}: not readable as safetensors: {_first_line(error)}") from error
        twice = sorted(set(shard) & set(state))
        if twice:
            raise CheckpointError(f"{path}: expected new names, got some that another shard has: {twice}")
        state.update(shard)
    return state


def _default_device() -> torch.device:
    """Where tensors are made: in torch 2.6, `get_default_device` does not see `with torch.device("meta")`."""
    return torch.empty(0).device


def _read_headers(path: Path) -> State:
    """The tensors of a safetensors file on the meta device."""
    with safe_open(path, framework="pt") as file:
        headers = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  # safe_open is no mapping
        return {
            name: torch.empty(header.get_shape(), dtype=_DTYPES.get(header.get_dtype(), torch.uint8), device="meta")
            for name, header in headers.items()
        }


def _shards(folder: Path, pattern: str) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    if index.exists():
        weight_map = read_json_object(index).get("weight_map")
        if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
            raise CheckpointError(f"{index}: weight_map: expected names mapped to files, got something else")
        return [folder / name for name in sorted(set(weight_map.values()))]
    shards = sorted(folder.glob(pattern))
    if not shards:
        raise CheckpointError(f"{folder}: expected {pattern}, got no such file")
    return shards


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def drop_keys(state: Mapping[str, Tensor], ignored: Iterable[str]) -> State:
    """`state` without the names whose beginning matches one of the patterns `ignored`."""
    patterns = [re.compile(pattern) for pattern in ignored]
    return {name: value for name, value in state.items() if not any(p.match(name) for p in patterns)}


def load_strict(module: nn.Module, state: Mapping[str, Tensor], *, where: str) -> None:
    """Copies `state` into `module`, in the module's own dtype.

    Raises CheckpointError with all missing names, all unexpected ones, all with another shape, and all that are
    integers in place of floating point or the reverse.
    """
    expected = module.state_dict()
    common = [(name, expected[name], state[name]) for name in sorted(set(state) & set(expected))]
    shapes = [f"{name}: expected {tuple(e.shape)}, got {tuple(g.shape)}" for name, e, g in common if e.shape != g.shape]
    kinds = [
        f"{name}: expected {_dtype_name(e)}, got {_dtype_name(g)}"
        for name, e, g in common
        if e.is_floating_point() != g.is_floating_point()
    ]
    problems = {
        "missing": sorted(set(expected) - set(state)),
        "unexpected": sorted(set(state) - set(expected)),
        "of another shape": shapes,
        "of another kind of number": kinds,
    }
    report = [f"{len(names)} {what}: {', '.join(names)}" for what, names in problems.items() if names]
    if report:
        raise CheckpointError(f"{where} does not fit {type(module).__name__}; " + "; ".join(report))
    if _default_device().type != "meta":
        module.load_state_dict(dict(state), strict=True)


def _dtype_name(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")


def build_uninitialised(make: Callable[[], M]) -> M:
    """Calls `make()` without initialising weights, for a module whose weights are all loaded next.

    Random numbers for 1.75 B parameters take longer than reading the weights from disk.
    """
    with _NoInitialisation():
        return make()


class _NoInitialisation(TorchFunctionMode):
    """Turns the random initialisers of `torch.nn.init` into no-ops."""

    SKIPPED = frozenset(
        {"uniform_", "normal_", "trunc_normal_", "kaiming_uniform_", "kaiming_normal_", "xavier_uniform_"}
    )

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__name__", "") in self.SKIPPED:
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))
