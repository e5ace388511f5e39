"""The results of the parts so far, in a file, so that another pass goes on where this one stops."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MAX_ATTEMPTS = 2
"""A part that has failed or run out of time so often is not tried again."""


@dataclass
class State:
    """`results` by part: whatever the part found, or its `error`. `attempts` counts how often it was begun."""

    file: Path
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)

    @staticmethod
    def read(file: Path) -> State:
        """What an earlier pass left, if anything."""
        return State(file, **json.loads(file.read_text(encoding="utf-8"))) if file.exists() else State(file)

    def is_done(self, part: str) -> bool:
        """Whether the part succeeded, or failed for good."""
        succeeded = part in self.results and "error" not in self.results[part]
        return succeeded or self.attempts.get(part, 0) >= MAX_ATTEMPTS

    def attempt(self, part: str, run: Callable[[], dict[str, Any]]) -> None:
        """Runs the part and keeps its result or its error, and meanwhile that it has not ended."""
        self.attempts[part] = self.attempts.get(part, 0) + 1
        self.add(part, {"error": "it did not end"})
        start = time.monotonic()
        try:
            self.add(part, run())
        except Exception as error:  # the other parts may well succeed
            self.add(part, {"error": f"{type(error).__name__}: {error}"})
        outcome = "failed" if "error" in self.results[part] else "ok"
        print(f"{part}: {outcome}, {time.monotonic() - start:.1f} s", flush=True)

    def add(self, part: str, result: dict[str, Any]) -> None:
        self.results[part] = result
        content = {"results": self.results, "attempts": self.attempts}
        partial = self.file.with_suffix(".partial")
        partial.write_text(json.dumps(content, indent=1), encoding="utf-8")
        partial.replace(self.file)

    def failures(self) -> list[str]:
        return [part for part, result in self.results.items() if "error" in result]
