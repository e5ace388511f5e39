"""deploy/locks has everything that the packages need, in versions that they allow, with hashes."""

from __future__ import annotations

import re

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.helpers.server import ROOT

LOCKS = {"glmtts-server": "server", "glmtts-client": "client"}
EXTRAS = {"glmtts-server": ("", "otel", "gpu"), "glmtts-client": ("",)}


def locked(lock: str) -> dict[str, list[str]]:
    """Versions by name; each has a hash."""
    versions: dict[str, list[str]] = {}
    text = (ROOT / "deploy" / "locks" / f"{lock}.txt").read_text("utf-8")
    for entry in re.split(r"\n(?=\S)", text):
        if pin := re.match(r"([A-Za-z0-9_.-]+)==([^ ;\\]+)", entry):
            assert "--hash=sha256:" in entry, entry
            versions.setdefault(canonicalize_name(pin[1]), []).append(pin[2])
    return versions


@pytest.mark.parametrize("project", LOCKS)
def test_each_requirement_is_locked_in_a_version_that_it_allows(project: str) -> None:
    versions = locked(LOCKS[project])
    requirements = [Requirement(text) for text in _requirements(project)]
    assert requirements
    for requirement in requirements:
        pins = versions.get(canonicalize_name(requirement.name), [])
        assert pins, f"{requirement}: expected it in deploy/locks, which scripts/lock.sh writes"
        assert all(requirement.specifier.contains(pin) for pin in pins), requirement


def _requirements(project: str) -> list[str]:
    """Those of pyproject.toml without those of extras that are not locked."""
    folder = ROOT if project == "glmtts-server" else ROOT / "client"
    text = (folder / "pyproject.toml").read_text("utf-8")
    listed = re.search(r"^dependencies = \[\n(.*?)^\]", text, re.DOTALL | re.MULTILINE)
    assert listed
    lines = re.findall(r'^    "(.*?)",', listed[1], re.MULTILINE)
    extras = [extra for extra in EXTRAS[project] if extra]
    for extra in extras:
        found = re.search(rf"^{extra} = \[(.*?)\]", text, re.MULTILINE)
        assert found
        lines += re.findall(r'"(.*?)"', found[1])
    return lines


def test_no_address_of_an_index_is_in_a_lock() -> None:
    """Where packages come from is the installation's own affair."""
    for lock in LOCKS.values():
        assert "://" not in (ROOT / "deploy" / "locks" / f"{lock}.txt").read_text("utf-8")
