"""Weight files to state dicts, and state dicts into modules: nothing missing, nothing left over.

Pickled files are read with `weights_only=True`: tensors and plain containers, never code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from glmtts.errors import CheckpointError

State = dict[str, Tensor]
M = TypeVar("M", bound=nn.Module)


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
        loaded = torch.load(path, map_location="cpu", weights_only=True)
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
            shard = load_file(path)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{path}: not readable as safetensors: {_first_line(error)}") from error
        twice = sorted(set(shard) & set(state))
        if twice:
            raise CheckpointError(f"{path}: expected new names, got some that another shard has: {twice}")
        state.update(shard)
    return state


def _shards(folder: Path, pattern: str) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    if index.exists():
        names = read_json_object(index).get("weight_map", {}).values()
        return [folder / name for name in sorted(set(names))]
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

    Raises CheckpointError with all missing names, all unexpected ones, and all with another shape.
    """
    expected = module.state_dict()
    shapes = [
        f"{name}: expected {tuple(expected[name].shape)}, got {tuple(state[name].shape)}"
        for name in sorted(set(state) & set(expected))
        if state[name].shape != expected[name].shape
    ]
    problems = {
        "missing": sorted(set(expected) - set(state)),
        "unexpected": sorted(set(state) - set(expected)),
        "of another shape": shapes,
    }
    report = [f"{len(names)} {what}: {', '.join(names)}" for what, names in problems.items() if names]
    if report:
        raise CheckpointError(f"{where} does not fit {type(module).__name__}; " + "; ".join(report))
    module.load_state_dict(dict(state), strict=True)


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
