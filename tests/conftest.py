"""--fast leaves out the tests with a marker that takes long, and says so at the end; --long leaves out the others."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import Any

import pytest

with suppress(ImportError):  # scripts/gpu_check.sh does without
    from hypothesis import settings

    settings.register_profile("no deadline", deadline=None)  # beside other work an example takes longer
    settings.load_profile("no deadline")

SLOW_MARKERS = ("training", "processes", "load", "recogniser", "slow")
"""pyproject.toml describes them."""
LEFT_OUT = pytest.StashKey[Counter[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    markers = ", ".join(SLOW_MARKERS)
    parser.addoption("--fast", action="store_true", help=f"leave out the tests marked {markers}")
    parser.addoption("--long", action="store_true", help=f"run only the tests marked {markers}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    marker = {item: next(filter(item.get_closest_marker, SLOW_MARKERS), None) for item in items}
    if config.getoption("--long"):
        _keep([item for item in items if marker[item] is not None], items, config)
    if not config.getoption("--fast"):
        return
    config.stash[LEFT_OUT] = Counter(name for name in marker.values() if name is not None)
    _keep([item for item in items if marker[item] is None], items, config)
    if hasattr(config, "workeroutput"):  # a process of pytest-xdist: each collects all tests
        config.workeroutput["left_out"] = dict(config.stash[LEFT_OUT])


def _keep(kept: list[pytest.Item], items: list[pytest.Item], config: pytest.Config) -> None:
    """Makes `items` the tests in `kept`, and tells pytest of the others."""
    kept_set = set(kept)
    config.hook.pytest_deselected(items=[item for item in items if item not in kept_set])
    items[:] = kept


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Takes the count from a process of pytest-xdist to the one that prints it."""
    node.config.stash[LEFT_OUT] = Counter(getattr(node, "workeroutput", {}).get("left_out", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    left_out = config.stash.get(LEFT_OUT, Counter())
    if not left_out:
        return
    descriptions = dict(line.split(": ", 1) for line in config.getini("markers") if ": " in line)
    terminalreporter.section("left out by --fast")
    for name, count in left_out.items():
        terminalreporter.write_line(f"{count} marked {name}: {descriptions[name]}")
