"""Which package may import which, read from the source with `ast`."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = {"glmtts": ROOT, "server": ROOT, "glmtts_client": ROOT / "client"}
"""Top-level packages, and the folder that each is in."""

LEAVES = {"glmtts", "glmtts.dsp"}
TEXT = {"glmtts.text", "glmtts.text.en", "glmtts.text.zh"}
MODELS = {"glmtts.models", "glmtts.models.llm", "glmtts.models.flow", "glmtts.models.vocoder", "glmtts.models.encoders"}

MAY_IMPORT: dict[str, set[str]] = {
    # The roots of glmtts, glmtts.engine and server hold leaves: errors, configurations and interfaces.
    "glmtts": set(),
    "glmtts.dsp": {"glmtts"},
    "glmtts.text": {"glmtts"},
    "glmtts.text.en": {"glmtts", "glmtts.text"},
    "glmtts.text.zh": {"glmtts", "glmtts.text", "glmtts.text.en"},
    "glmtts.text.frontend": {"glmtts", *TEXT},
    "glmtts.models": set(),
    "glmtts.models.llm": {"glmtts", "glmtts.models"},
    "glmtts.models.flow": {"glmtts", "glmtts.models"},
    "glmtts.models.vocoder": {*LEAVES, "glmtts.models"},
    "glmtts.models.encoders": {*LEAVES, "glmtts.models"},
    "glmtts.voice": {*LEAVES, "glmtts.models.encoders", "glmtts.models.llm"},
    "glmtts.checkpoint": {*LEAVES, *MODELS, "glmtts.text", "glmtts.text.frontend", "glmtts.voice"},
    "glmtts.engine": {*LEAVES, "glmtts.text", "glmtts.text.frontend", "glmtts.models.llm", "glmtts.voice"},
    "glmtts.engine.scheduling": {*LEAVES, "glmtts.text.frontend", "glmtts.models.llm", "glmtts.engine"},
    "glmtts.engine.synthesis": {
        *LEAVES, *MODELS, "glmtts.text", "glmtts.text.frontend", "glmtts.voice", "glmtts.checkpoint",
        "glmtts.engine", "glmtts.engine.scheduling",
    },
    "glmtts.engine.runtime": {
        *LEAVES, *MODELS, "glmtts.text", "glmtts.text.frontend", "glmtts.voice", "glmtts.checkpoint",
        "glmtts.engine", "glmtts.engine.scheduling", "glmtts.engine.synthesis",
    },
    "glmtts.parity": {*LEAVES, *MODELS, *TEXT, "glmtts.text.frontend", "glmtts.checkpoint"},
    "server": {"glmtts", "glmtts.engine"},
    "server.discovery": {"glmtts", "glmtts.engine", "server"},
    "server.voices": {"glmtts", "glmtts.text", "glmtts.voice", "glmtts.engine", "server"},
    "server.keys": {"server"},
    "server.observability": {*LEAVES, "glmtts.engine", "server", "server.discovery", "server.voices"},
    "server.edge": set(),
    "server.http": {
        *LEAVES, "glmtts.text", "glmtts.text.frontend", "glmtts.models.llm", "glmtts.voice", "glmtts.engine",
        "server", "server.discovery", "server.voices", "server.keys", "server.observability", "server.edge",
    },
    "server.http.openai": {
        "glmtts", "glmtts.text", "glmtts.engine", "server", "server.voices", "server.edge", "server.http",
    },
    "server.http.speech_socket": {
        "glmtts", "glmtts.engine", "server", "server.observability", "server.edge", "server.http", "server.http.openai",
    },
    "server.http.console": {"server.http"},
    "server.http.docs": {"server", "server.http", "server.http.openai", "server.keys"},
    "server.wsgi": {
        "glmtts", "glmtts.engine", "glmtts.engine.runtime",
        "server", "server.discovery", "server.voices", "server.keys", "server.observability", "server.edge",
        "server.http", "server.http.openai", "server.http.speech_socket", "server.http.docs", "server.http.console",
    },
    "glmtts_client": set(),
    "glmtts_client.batch": {"glmtts_client"},
    "glmtts_client.cli": {"glmtts_client", "glmtts_client.batch"},
}  # fmt: skip
"""A package's modules may import each other and modules of these packages, all of which come before it here."""

EXEMPT = {
    "glmtts": "the public names of the package, each imported at its first use",
    "glmtts_client.__main__": "the entry point of `python -m glmtts_client`",
}
"""Modules that no rule applies to, and why."""

MACHINERY = frozenset(
    {"asyncio", "concurrent", "datetime", "io", "logging", "multiprocessing", "os", "pathlib", "queue", "random"}
    | {"sched", "selectors", "shutil", "signal", "socket", "subprocess", "tempfile", "threading", "time"}
)
"""Threads, files, clocks and hidden random numbers."""

LIBRARIES_FORBIDDEN = {
    "glmtts": frozenset({"app", "scripts", "flask", "werkzeug", "gunicorn", "consul", "prometheus_client"}),
    "glmtts.text": frozenset({"torch", "torchaudio", "transformers"}),
    "glmtts.models": MACHINERY,
    "glmtts.engine.scheduling": frozenset({"torch", "torchaudio", "transformers"}),
    "server": frozenset({"app", "scripts", "torch", "torchaudio", "transformers"}),
    "glmtts_client": frozenset({"app", "scripts", "torch", "flask"}),
}
"""Top-level names that a package and its subpackages must not import."""

FILE_READERS = frozenset({"glmtts.models.vocoder.vocos: io", "glmtts.models.vocoder.vocos: pathlib"})
"""The loader of a TorchScript vocoder reads the file: its hash must be that of the very bytes that are loaded."""


@cache
def modules() -> dict[str, Path]:
    """All modules by their dotted names; a package's is that of its `__init__`."""
    found = {}
    for package, folder in SOURCES.items():
        for path in sorted((folder / package).rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def package_of(module: str) -> str:
    return module if modules()[module].name == "__init__.py" else module.rpartition(".")[0]


def imported_names(path: Path) -> set[str]:
    """Dotted names that a file imports anywhere in it, also in functions and under TYPE_CHECKING."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            names |= {f"{module}.{alias.name}" for alias in node.names}
    return names


def imported_modules(module: str) -> set[str]:
    """Modules of these packages that a module imports; `from package import name` may name either."""
    names = imported_names(modules()[module])
    imported = {name if name in modules() else name.rpartition(".")[0] for name in names}
    return {name for name in imported if name in modules()} - {module}


def forbidden_imports(path: Path, forbidden: frozenset[str]) -> list[str]:
    return sorted({top for name in imported_names(path) if (top := name.split(".")[0]) in forbidden})


def test_the_table_has_every_package_in_order() -> None:
    """Each package is in the table, and imports only packages before it: none can import a higher one."""
    assert {package_of(module) for module in modules()} == set(MAY_IMPORT)
    order = list(MAY_IMPORT)
    for package, allowed in MAY_IMPORT.items():
        assert all(order.index(other) < order.index(package) for other in allowed), package


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_only_what_it_may(package: str) -> None:
    allowed = MAY_IMPORT[package] | {package}
    breaches = [
        f"{module} imports {other}"
        for module in modules()
        if package_of(module) == package and module not in EXEMPT
        for other in sorted(imported_modules(module))
        if package_of(other) not in allowed
    ]
    assert breaches == []


def test_no_modules_import_each_other() -> None:
    """There is no cycle of imports, not even of annotations; `prepare` raises CycleError with the modules."""
    graph = {module: imported_modules(module) for module in modules() if module not in EXEMPT}
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("package", LIBRARIES_FORBIDDEN)
def test_a_package_imports_no_forbidden_library(package: str) -> None:
    breaches = {
        f"{module}: {name}"
        for module, path in modules().items()
        if f"{module}.".startswith(f"{package}.")
        for name in forbidden_imports(path, LIBRARIES_FORBIDDEN[package])
    }
    assert breaches <= FILE_READERS


def test_no_relative_imports() -> None:
    """Imports are absolute, so that the checks here see all of them."""
    relative = [
        module for module, path in modules().items() if any(name.startswith(".") for name in imported_names(path))
    ]
    assert relative == []


def test_models_open_no_files() -> None:
    """The neural modules read and write no files: their state comes as arguments."""
    calls = [
        f"{path.name}:{node.lineno}"
        for path in (ROOT / "glmtts/models").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"open", "print", "input"}
    ]
    assert calls == []


def test_the_checks_find_a_breach(tmp_path: Path) -> None:
    """A forbidden import is found, also inside a function, and a similar name is not."""
    source = tmp_path / "layer.py"
    source.write_text("def late():\n    from flask.json import dumps\n    import torchlike\n", encoding="utf-8")
    assert forbidden_imports(source, frozenset({"flask", "torch"})) == ["flask"]
    assert "glmtts.errors" in imported_modules("glmtts.config")


@pytest.mark.parametrize(
    "names",
    [
        ["glmtts", "glmtts.errors", "glmtts.config", "glmtts.dsp.audio", "glmtts.text.frontend.frontend"],
        ["glmtts.voice.reference_audio", "glmtts.voice.digest", "glmtts.models.llm.history"],
        sorted(
            f"glmtts.engine.scheduling.{path.stem}" for path in (ROOT / "glmtts/engine/scheduling").glob("[a-z]*.py")
        ),
        ["glmtts.engine.api", "glmtts.engine.config", "glmtts.engine.stats", "glmtts.engine.runtime.fake"],
        ["server.wsgi.app", "server.wsgi.gunicorn_app"],
    ],
    ids=["leaves", "voice and history", "scheduling", "the engine's interface and the fake engine", "server"],
)
def test_torch_is_not_loaded(names: list[str]) -> None:
    """Importing these modules does not load torch, not even indirectly."""
    check = f"import sys, {', '.join(names)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False).returncode == 0
