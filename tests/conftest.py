"""The option --fast, which skips the tests with one of the markers that take minutes."""

from __future__ import annotations

import pytest

SLOW_MARKERS = ("training", "load", "recogniser", "slow")
"""pyproject.toml describes them."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fast", action="store_true", help=f"skip the tests marked {', '.join(SLOW_MARKERS)}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Adds a skip with a reason, so that the summary shows what --fast left out."""
    if not config.getoption("--fast"):
        return
    for item in items:
        for name in SLOW_MARKERS:
            if item.get_closest_marker(name):
                item.add_marker(pytest.mark.skip(reason=f"--fast: marked {name}"))
                break
