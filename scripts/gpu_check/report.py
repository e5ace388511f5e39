"""The results as Markdown, to paste."""

from __future__ import annotations

from typing import Any

from scripts.gpu_check.parts import SERVER, level_name
from scripts.gpu_check.state import State

Result = dict[str, Any]
COLUMNS = {
    "listeners": "{}",
    "first_audio_p50": "{:.3f}",
    "first_audio_p95": "{:.3f}",
    "rtf": "{:.3f}",
    "audio_per_second": "{:.1f}",
    "underruns": "{}",
    "worst_silence": "{:.3f}",
    "spoken": "{}",
    "requests": "{}",
    "refused": "{}",
    "plain_steps": "{}",
    "device_mib": "{:.0f}",
    "host_mib": "{:.0f}",
}


def report(state: State, levels: tuple[int, ...]) -> str:
    """Everything that is known so far; times in seconds."""
    results = state.results
    blocks = [lines(name, results[name]) for name in ("machine", "stand-ins", "tests", SERVER) if name in results]
    if "stages" in results:
        blocks.append(stage_table(results["stages"]))
    if "distances" in results:
        blocks.append(distance_table(results["distances"]))
    names = [name for name in map(level_name, levels) if name in results]
    blocks += [lines(name, results[name]) for name in names if "error" in results[name]]
    if heard := [results[name] for name in names if "error" not in results[name]]:
        blocks.append(markdown(list(COLUMNS), [[cell(row, name) for name in COLUMNS] for row in heard]))
    return "\n\n".join(blocks)


def lines(name: str, result: Result) -> str:
    if "error" in result:
        return f"**{name} failed**:\n\n```\n{result['error']}\n```"
    shown = (f"{key} {value:.1f}" if isinstance(value, float) else f"{key} {value}" for key, value in result.items())
    return f"**{name}**: {', '.join(shown)}"


def stage_table(result: Result) -> str:
    if "error" in result:
        return lines("stages", result)
    rows = [[one["stage"], f"{one['ms']:.2f}", f"{one['per_second']:.1f}"] for one in result["stages"]]
    return markdown(["stage", "ms", "per second"], rows)


def distance_table(result: Result) -> str:
    if "error" in result:
        return lines("distances", result)
    names = ["stage", "format", "measure", "value", "two_draws"]
    rows = [[shown(one[name]) for name in names] for one in result["distances"]]
    return markdown(names, rows)


def shown(value: Any) -> str:
    """Empty where it is not known."""
    return f"{value:.3g}" if isinstance(value, float) else str(value or "")


def cell(row: Result, name: str) -> str:
    """Empty where it is not known."""
    return "" if row.get(name) is None else COLUMNS[name].format(row[name])


def markdown(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *rows])
