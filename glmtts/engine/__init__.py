"""Engines behind one seam (`glmtts.engine.api`). `load_engine` is imported when asked for: it needs torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glmtts.engine.runtime.loading import load_engine

__all__ = ["load_engine"]


def __getattr__(name: str) -> Any:
    if name != "load_engine":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from glmtts.engine.runtime.loading import load_engine

    return load_engine
