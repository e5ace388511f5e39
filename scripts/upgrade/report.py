"""What came of an upgrade, as tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scripts.upgrade.client_load import Summary


@dataclass(frozen=True)
class Replacement:
    """Releases of a node ("": it does not say), and seconds until it left discovery, ended, and was back."""

    name: str
    old: str
    new: str
    left: float
    ended: float
    back: float


def nodes_table(replacements: Sequence[Replacement]) -> str:
    return table(
        ("node", "release", "out of discovery (s)", "ended (s)", "back (s)"),
        [
            (each.name, f"{each.old or '–'} → {each.new or '–'}", *map(_tenths, (each.left, each.ended, each.back)))
            for each in replacements
        ],
    )


def clients_table(summaries: dict[str, Summary]) -> str:
    header = (
        "client", "items", "streams", "sessions", "lost", "retries", "cut (audible)", "without history",
        "longest silence (s)", "models",
    )  # fmt: skip
    return table(header, [_cells(name, summary) for name, summary in summaries.items()])


def _cells(name: str, summary: Summary) -> tuple[str, ...]:
    counts = (summary.items, summary.streams, summary.sessions, len(summary.failures), summary.retries)
    cut = f"{summary.cut} ({summary.audible})"
    history = f"{summary.without_history} of {summary.segments}"
    silence = _tenths(summary.max_silence_seconds)
    return (name, *map(str, counts), cut, history, silence, ", ".join(summary.versions))


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """In Markdown."""
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, ["---"] * len(header), *rows))


def _tenths(value: float) -> str:
    return f"{value:.1f}"
