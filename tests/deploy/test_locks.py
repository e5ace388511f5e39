"""deploy/locks has everything that the packages need, in versions that they allow, with hashes.

scripts/release/lowest.txt has the lowest of these, and tests pass with them."""

from __future__ import annotations

import re
import subprocess
import sysconfig
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.helpers.server import ROOT

LOCKS = {
    "server": (ROOT, ("otel", "gpu")),
    "server-cpu": (ROOT, ("otel",)),
    "client": (ROOT / "client", ()),
}
"""By lock: the folder of the project, and the extras that it has, too."""
LOCK_FOLDER = ROOT / "deploy" / "locks"
RELEASE_FOLDER = ROOT / "scripts" / "release"
TESTS_WITH_LOWEST = (
    "tests/server/http/test_schemas.py",
    "tests/server/wsgi/test_command.py",
    "tests/glmtts/text/test_tokenizer.py",
    "tests/glmtts/checkpoint",
    "tests/client/test_cli.py",
)
"""A part of what scripts/release/lowest.sh runs."""


def locked(lock: str, folder: Path = LOCK_FOLDER) -> dict[str, list[str]]:
    """Versions by name; each has a hash."""
    versions: dict[str, list[str]] = {}
    text = (folder / f"{lock}.txt").read_text("utf-8")
    for entry in re.split(r"\n(?=\S)", text):
        if pin := re.match(r"([A-Za-z0-9_.-]+)==([^ ;\\]+)", entry):
            assert "--hash=sha256:" in entry, entry
            versions.setdefault(canonicalize_name(pin[1]), []).append(pin[2])
    return versions


@pytest.mark.parametrize("lock", LOCKS)
def test_each_requirement_is_locked_in_a_version_that_it_allows(lock: str) -> None:
    versions = locked(lock)
    requirements = [Requirement(text) for text in _requirements(*LOCKS[lock])]
    assert requirements
    for requirement in requirements:
        if (lock, requirement.name) == ("server-cpu", "torch"):
            continue
        pins = versions.get(canonicalize_name(requirement.name), [])
        assert pins, f"{requirement}: expected it in deploy/locks, which scripts/lock.sh writes"
        assert all(requirement.specifier.contains(pin) for pin in pins), requirement


def test_the_lock_without_torch_has_the_same_versions() -> None:
    """And nothing of CUDA; the image gets torch for CPUs in the version that is locked for CUDA."""
    full, cpu = locked("server"), locked("server-cpu")
    assert cpu.items() <= full.items()
    missing = {name for name in set(full) - set(cpu) if not name.startswith(("nvidia-", "cuda-"))}
    assert missing == {"torch", "triton"}
    assert not [name for name in cpu if name.startswith(("nvidia-", "cuda-"))]
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text("utf-8")
    assert re.findall(r"^ARG TORCH=(.+)$", dockerfile, re.MULTILINE) == full["torch"]


def _requirements(folder: Path, extras: tuple[str, ...]) -> list[str]:
    """Those of the folder's pyproject.toml, and of some of its extras."""
    text = (folder / "pyproject.toml").read_text("utf-8")
    listed = re.search(r"^dependencies = \[\n(.*?)^\]", text, re.DOTALL | re.MULTILINE)
    assert listed
    lines = re.findall(r'^    "(.*?)",', listed[1], re.MULTILINE)
    for extra in extras:
        found = re.search(rf"^{extra} = \[(.*?)\]", text, re.MULTILINE)
        assert found
        lines += re.findall(r'"(.*?)"', found[1])
    return lines


def test_no_address_of_an_index_is_in_a_lock() -> None:
    """Where packages come from is the installation's own affair."""
    for lock in LOCKS:
        assert "://" not in (ROOT / "deploy" / "locks" / f"{lock}.txt").read_text("utf-8")


def test_the_lowest_versions_are_those_of_the_requirements() -> None:
    """A bound such as 2.32 stands for its first release that was not withdrawn, 2.32.2."""
    pins = locked("lowest", RELEASE_FOLDER)
    server, client = _requirements(ROOT, ("otel", "onnx")), _requirements(ROOT / "client", ())
    bounds = [Requirement(text) for text in (*server, *client)]
    assert bounds
    for requirement in bounds:
        if requirement.name == "torch":
            continue
        (least,) = [Version(part.version).release for part in requirement.specifier if part.operator == ">="]
        name = canonicalize_name(requirement.name)
        lowest = [Version(pin).release[: len(least)] for pin in pins.get(name, [])]
        assert lowest == [least], f"{requirement}: run scripts/lock.sh"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(
    not Path(sysconfig.get_path("purelib"), "torch").exists(), reason="torch is not in this environment's own folder"
)
def test_tests_pass_with_the_lowest_versions() -> None:
    command = ["scripts/release/lowest.sh", "--quick", *TESTS_WITH_LOWEST]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=590)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert re.search(r"\d{3,} passed", done.stdout)
