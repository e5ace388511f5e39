"""The table of an attack, and what in it is a fault."""

from __future__ import annotations

import re
from dataclasses import dataclass

from scripts.attacks.senders import Outcomes
from scripts.attacks.target import Observation

MAX_HEALTH_SECONDS = 1.0
"""Slowest p99 of /health; generous, since the attacker may share the server's cores."""
MAX_GROWTH, MAX_GROWTH_MIB = 0.1, 64.0
"""Memory may grow by this share, and by this anyway: caches fill."""
HARMLESS = ("501", "503", "505")
"""Statuses that are no fault: a transfer coding or an HTTP that the server does not have, and no room."""
HEADINGS = ("attack", "sent", "answers", "memory, MiB", "/health p99", "others' speech", "fault")


def max_memory(before: float) -> float:
    """How much memory is no growth yet, in MiB."""
    return before + max(MAX_GROWTH_MIB, MAX_GROWTH * before)


@dataclass(frozen=True)
class Row:
    """One attack: what was sent, what came, and what was observed."""

    name: str
    sent: str
    outcomes: Outcomes
    memory_before: float
    memory_after: float
    observation: Observation
    alive: bool

    def faults(self) -> list[str]:
        """What must not be; empty if the server held."""
        checks = {
            "crash": not self.alive,
            "5xx": any(re.fullmatch(r"5\d\d|1011", name) and name not in HARMLESS for name in self.outcomes),
            "answers": any(not re.fullmatch(r"\d{3,4}|open|closed|ConnectionError", name) for name in self.outcomes),
            "stall": self.observation.health_p99() > MAX_HEALTH_SECONDS,
            "others": self.observation.slowest_speech() == float("inf"),
            "growth": self.memory_after > max_memory(self.memory_before),
        }
        return [name for name, failed in checks.items() if failed]

    def cells(self) -> tuple[str, ...]:
        return (
            self.name,
            self.sent,
            ", ".join(f"{count} × {name}" for name, count in sorted(self.outcomes.items())),
            f"{self.memory_before:.0f} → {self.memory_after:.0f}",
            f"{1000 * self.observation.health_p99():.0f} ms",
            f"≤ {self.observation.slowest_speech():.1f} s",
            ", ".join(self.faults()) or "none",
        )


def table(rows: list[Row]) -> str:
    """A Markdown table."""
    lines = [HEADINGS, ("---",) * len(HEADINGS), *(row.cells() for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
