"""Exits with what this Python lacks of the packages that the server and its tests need. Imports none of them."""

from __future__ import annotations

import re
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
TESTS = ("pytest", "pytest-timeout", "tqdm")
MINIMUM = (3, 10)


def required() -> list[str]:
    """Names of the distributions that the server depends on, with those of the tests."""
    listed = PYPROJECT.read_text(encoding="utf-8").partition("\ndependencies = [")[2].partition("\n]")[0]
    names = list(TESTS)
    for requirement in re.findall(r'^\s*"([^"]+)"', listed, re.MULTILINE):
        name, _, marker = requirement.partition(";")
        since = re.search(r"python_version >= '(\d+)\.(\d+)'", marker)
        if since is None or sys.version_info >= (int(since[1]), int(since[2])):
            names.append(re.split(r"[<>=!~\[ ]", name)[0])
    return names


def is_installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def main() -> None:
    if sys.version_info < MINIMUM:
        sys.exit(f"Python: expected {MINIMUM[0]}.{MINIMUM[1]} or newer, got {sys.version.split()[0]}")
    missing = [name for name in required() if not is_installed(name)]
    if missing:
        sys.exit(
            f"{sys.executable}: expected the server's packages and {', '.join(TESTS)}; missing: {', '.join(missing)}\n"
            f"With network: pip install -r deploy/locks/server.txt {' '.join(TESTS)}"
        )


if __name__ == "__main__":
    main()
