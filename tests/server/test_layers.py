"""The layers of the server: no package imports one above it, and no two modules import each other."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

LAYERS = {"": 0, "discovery": 1, "voices": 1, "observability": 2, "http": 3, "wsgi": 4}
"""The rank of each package; "" is the root, whose modules are leaves."""


def modules() -> dict[str, set[str]]:
    """For each module of the server the modules of the server that it imports, also inside functions."""
    names = {_name(path) for path in (ROOT / "server").rglob("*.py")}
    return {_name(path): _imports(path, names) for path in (ROOT / "server").rglob("*.py")}


def _name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _imports(path: Path, names: set[str]) -> set[str]:
    imported: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            submodules = {f"{node.module}.{alias.name}" for alias in node.names}
            imported |= (submodules & names) or {node.module}
    return imported & names


def package(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and (ROOT / "server" / parts[1]).is_dir() else ""


def test_every_package_has_a_layer() -> None:
    """A new package gets its rank in LAYERS."""
    assert {package(module) for module in modules()} == set(LAYERS)


def test_no_package_imports_a_higher_one() -> None:
    """Nor another one of the same layer."""
    graph = modules()
    upward = [
        f"{module} imports {target}"
        for module, targets in graph.items()
        for target in targets
        if package(module) != package(target) and LAYERS[package(target)] >= LAYERS[package(module)]
    ]
    assert sum(map(len, graph.values())) > 50, "the imports are found"
    assert upward == []


def test_no_two_modules_import_each_other() -> None:
    """Not even through others."""
    assert list(TopologicalSorter(modules()).static_order())
