"""A golden case and the result of a comparison."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Case:
    """A golden case: its name, its JSON, its inputs and outputs, and the weights without their prefix."""

    name: str
    info: Any
    tensors: dict[str, Tensor]
    state: dict[str, Tensor]

    @property
    def information(self) -> bool:
        """Whether the case is only printed, as its JSON says."""
        return isinstance(self.info, dict) and self.info.get("kind") == "information"


@dataclass(frozen=True)
class CaseResult:
    """One comparison. `difference` None: there is no number. `limit` None: printed only; `status` says why."""

    case: str
    difference: float | None
    limit: float | None
    note: str = ""
    status: str = "information"

    @property
    def passed(self) -> bool:
        """Without a limit, or within it. NaN is not."""
        return self.limit is None or (self.difference is not None and self.difference <= self.limit)

    @property
    def verdict(self) -> str:
        """The verdict in the table: `status` without a limit, else ok or OVER."""
        return self.status if self.limit is None else "ok" if self.passed else "OVER"


@dataclass(frozen=True)
class Sources:
    """Files that some kinds need in addition: the speaker encoder's weights, the published code's data files."""

    campplus: Path | None
    reference: Path


def max_difference(actual: Tensor, expected: Tensor) -> float:
    """The largest absolute difference; infinite if the shapes differ."""
    if actual.shape != expected.shape:
        return float("inf")
    return float((actual.double() - expected.double()).abs().max()) if expected.numel() else 0.0


def mismatches(actual: Tensor, expected: Tensor) -> float:
    """The number of ids that differ; each missing or additional id counts."""
    shared = min(len(actual), len(expected))
    return float((actual[:shared] != expected[:shared]).sum() + abs(len(actual) - len(expected)))
