"""The direction of imports, read from the source with `ast`: app.py → server → glmtts; client/ stands alone."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Threads, files, clocks and what draws random numbers behind one's back.
MACHINERY = frozenset(
    {"asyncio", "concurrent", "datetime", "io", "logging", "multiprocessing", "os", "pathlib", "queue", "random"}
    | {"sched", "selectors", "shutil", "signal", "socket", "subprocess", "tempfile", "threading", "time"}
)

# The hash of a TorchScript vocoder must be that of the very bytes that are loaded, so its loader reads the file.
EXEMPT = frozenset({"vocos.py: io", "vocos.py: pathlib"})

FORBIDDEN = {
    "glmtts": frozenset(
        {"server", "glmtts_client", "app", "flask", "werkzeug", "gunicorn", "consul", "prometheus_client"}
    ),
    "glmtts/text": frozenset({"torch", "torchaudio", "transformers"}),
    "glmtts/engine/scheduling": frozenset({"torch", "torchaudio", "transformers"}),
    "glmtts/models": MACHINERY,
    "server": frozenset({"torch", "torchaudio", "transformers", "glmtts_client", "app"}),
    "client": frozenset({"torch", "flask", "glmtts", "server", "app"}),
}


def imported(path: Path) -> set[str]:
    """The dotted names that a file imports anywhere in it, functions and type-checking blocks included."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add("." * node.level + (node.module or ""))
    return names


def breaches(files: list[Path], forbidden: frozenset[str]) -> list[str]:
    """Each import of a forbidden package or of one of its modules, as `file: name`."""
    return [
        f"{path.name}: {name}" for path in files for name in sorted(imported(path)) if name.split(".")[0] in forbidden
    ]


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_imports_point_inward(folder: str) -> None:
    """No file of a layer imports what that layer must not know."""
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    assert set(breaches(files, FORBIDDEN[folder])) <= EXEMPT


ENGINE = {
    "*.py": {"scheduling", "synthesis", "runtime"},
    "scheduling/*.py": {"synthesis", "runtime"},
    "synthesis/*.py": {"runtime"},
}
"""Files of glmtts/engine: the packages beside them that they must not import."""


@pytest.mark.parametrize("files", ENGINE)
def test_the_engine_is_layered(files: str) -> None:
    """Options and interface at the root, then scheduling, synthesis and runtime; each imports only those before it."""
    paths = sorted((ROOT / "glmtts/engine").glob(files))
    assert paths
    found = {
        f"{path.name}: {name}"
        for path in paths
        for name in imported(path)
        if name.startswith("glmtts.engine.") and name.split(".")[2] in ENGINE[files]
    }
    assert found == set()


def test_no_two_modules_import_each_other() -> None:
    """Each module can be understood before the ones that import it."""
    files = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in (ROOT / "glmtts").rglob("*.py")}
    graph = {name: imported(path) & files.keys() for name, path in files.items()}
    assert [(one, other) for one in graph for other in graph[one] if one in graph[other]] == []


def test_no_relative_imports() -> None:
    """Imports inside the packages are absolute, so that the check above sees all of them."""
    files = [path for folder in ("glmtts", "server", "client") for path in (ROOT / folder).rglob("*.py")]
    assert files
    assert [str(path) for path in files if any(name.startswith(".") for name in imported(path))] == []


def test_models_open_no_files() -> None:
    """The neural modules read and write no files: their state comes as arguments."""
    calls = [
        f"{path.name}:{node.lineno}"
        for path in (ROOT / "glmtts/models").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"open", "print", "input"}
    ]
    assert calls == []


def test_the_check_sees_a_breach(tmp_path: Path) -> None:
    """The check above finds a forbidden import, also one inside a function."""
    source = tmp_path / "layer.py"
    source.write_text("def late():\n    from flask.json import dumps\n    import torchlike\n", encoding="utf-8")
    assert breaches([source], frozenset({"flask", "torch"})) == ["layer.py: flask.json"]


LIGHT = [
    "glmtts",
    "glmtts.config",
    "glmtts.dsp.audio",
    "glmtts.engine.api",
    "glmtts.engine.config",
    "glmtts.engine.runtime.fake",
    "glmtts.engine.scheduling.scheduler",
    "glmtts.engine.stats",
    "glmtts.errors",
    "glmtts.models.llm.history",
    "glmtts.text.frontend",
]


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_do_not_load_torch(module: str) -> None:
    """Errors, configurations, the text front end, the engine's interface and its scheduling load without torch."""
    check = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False).returncode == 0
