"""Weight files to state dicts, and state dicts into modules: nothing missing, nothing left over.

Files are mapped, and a tensor is read when it is copied into its module: at most one tensor is in memory twice.
Pickled files are read with `weights_only=True`: tensors and plain containers, never code.

Under `with torch.device("meta")` the same functions check names, shapes and dtypes without reading any weights.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from glmtts.errors import CheckpointError

M = TypeVar("M", bound=nn.Module)
V = TypeVar("V")

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


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file. `read` returns it on the CPU."""

    shape: torch.Size
    dtype: torch.dtype
    read: Callable[[], Tensor]

    @staticmethod
    def of(tensor: Tensor) -> StoredTensor:
        """One that is in memory, or mapped."""
        return StoredTensor(tensor.shape, tensor.dtype, lambda: tensor)

    def numel(self) -> int:
        return self.shape.numel()


State = dict[str, StoredTensor]


def read_torch(path: Path) -> State:
    """A state dict saved by torch, bare or under the key `model`. CheckpointError if it is anything else."""
    try:
        loaded = _load_torch(path)
    except Exception as error:  # a damaged pickle may raise anything
        raise CheckpointError(f"{path}: not readable as a torch file of tensors: {_first_line(error)}") from error
    state = loaded.get("model", loaded) if isinstance(loaded, Mapping) else loaded
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{path}: expected names mapped to tensors, bare or under 'model', got something else")
    return {name: StoredTensor.of(value) for name, value in state.items()}


def _load_torch(path: Path) -> Any:
    """Mapped, if the file is in the format that allows it: torch's since 1.6."""
    device = "meta" if _only_headers() else "cpu"
    with torch.device(device):
        try:
            return torch.load(path, map_location=device, weights_only=True, mmap=True)
        except RuntimeError:
            return torch.load(path, map_location=device, weights_only=True)


def read_safetensors(folder: Path, pattern: str = "model*.safetensors") -> State:
    """All shards in `folder`, merged. If there is an index file, exactly the shards that it lists.

    Raises CheckpointError if a shard is missing or damaged, or if two shards have the same name.
    """
    state: State = {}
    for path in _shards(folder, pattern):
        shard = _read_headers(path)
        twice = sorted(set(shard) & set(state))
        if twice:
            raise CheckpointError(f"{path}: expected new names, got some that another shard has: {twice}")
        state.update(shard)
    return state


def _read_headers(path: Path) -> State:
    try:
        with safe_open(path, framework="pt") as file:
            headers = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  # safe_open is no mapping
            return {
                name: StoredTensor(
                    torch.Size(header.get_shape()),
                    _DTYPES.get(header.get_dtype(), torch.uint8),
                    partial(_read_tensor, path, name),
                )
                for name, header in headers.items()
            }
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: not readable as safetensors: {_first_line(error)}") from error


def _read_tensor(path: Path, name: str) -> Tensor:
    """From a mapping of its own: when the tensor goes, the pages that were read for it go, too."""
    with safe_open(path, framework="pt") as file:
        tensor: Tensor = file.get_tensor(name)
        return tensor


def _only_headers() -> bool:
    """In torch 2.6, `get_default_device` does not see `with torch.device("meta")`."""
    return torch.empty(0).device.type == "meta"


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


def drop_keys(state: Mapping[str, V], ignored: Iterable[str]) -> dict[str, V]:
    """`state` without the names whose beginning matches one of the patterns `ignored`."""
    patterns = [re.compile(pattern) for pattern in ignored]
    return {name: value for name, value in state.items() if not any(p.match(name) for p in patterns)}


def load_strict(module: nn.Module, state: Mapping[str, Tensor | StoredTensor], *, where: str) -> None:
    """Copies `state` into `module`, in the module's own dtype, on its own device, one tensor after another.

    Raises CheckpointError with all missing names, all unexpected ones, all with another shape, and all that are
    integers in place of floating point or the reverse.
    """
    expected = module.state_dict()
    common = [(name, expected[name], state[name]) for name in sorted(set(state) & set(expected))]
    shapes = [f"{name}: expected {tuple(e.shape)}, got {tuple(g.shape)}" for name, e, g in common if e.shape != g.shape]
    kinds = [
        f"{name}: expected {_dtype_name(e)}, got {_dtype_name(g)}"
        for name, e, g in common
        if e.dtype.is_floating_point != g.dtype.is_floating_point
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
    if not _only_headers():
        for name, target in expected.items():
            value = state[name]
            target.copy_(value.read() if isinstance(value, StoredTensor) else value)


def _dtype_name(value: Tensor | StoredTensor) -> str:
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
