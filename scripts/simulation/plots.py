"""The pictures of docs/capacity.md."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from scripts.simulation.cluster import ClusterModel, first_audio, percentile, steady
from scripts.simulation.consul import steady_load
from scripts.simulation.experiments import (
    CHANGES_PER_NODE,
    CLIENTS_PER_AGENT,
    MODES,
    scale,
    scaling_rules,
)
from scripts.simulation.node import Pace
from scripts.simulation.program import Utterance

TARGET = 20.0
"""Backlog of a node (s of audio): that of deploy/."""
WINDOW = 10.0
"""Seconds of listeners in one point of a curve over time."""


def write_all(pace: Pace, folder: Path) -> None:
    """capacity-zone.png, capacity-scaling.png and capacity-consul.png."""
    mpl.use("Agg")
    mpl.rcParams.update({"figure.figsize": (8, 3.2), "figure.dpi": 100, "font.size": 9, "axes.grid": True})
    _save(folder / "capacity-zone.png", lambda axes: _zone(axes, pace))
    _save(folder / "capacity-scaling.png", lambda axes: _scaling(axes, pace))
    _save(folder / "capacity-consul.png", _consul)


def _save(file: Path, draw: Callable[[Axes], None]) -> None:
    figure, axes = plt.subplots()
    draw(axes)
    axes.legend(loc="best", fontsize=7)
    figure.tight_layout()
    figure.savefig(file)
    plt.close(figure)


def _zone(axes: Axes, pace: Pace, nodes: int = 21) -> None:
    for load in (0.5, 0.6, 0.65, 0.7):
        cluster = ClusterModel(pace, nodes, programs=nodes)
        cluster.clock.after(60.0, lambda cluster=cluster: cluster.lose_zone(0))  # type: ignore[misc]
        heard = cluster.run(steady(pace, nodes, load, 180.0), drain=120.0)
        _over_time(axes, heard, f"{load:.0%} load before")
    axes.axvline(60.0, color="grey", linestyle=":")
    axes.set(
        yscale="log",
        xlabel="s; a zone is lost at 60 s",
        ylabel="first audio p95, s",
        title=f"{nodes} nodes, {pace.name}",
    )


def _scaling(axes: Axes, pace: Pace, nodes: int = 8) -> None:
    slow, *_, quick = scaling_rules(TARGET)
    for name, load_seconds in ((slow, 15.0), (slow, 60.0), (slow, 180.0), (quick, 180.0)):
        heard, _ = scale(pace, scaling_rules(TARGET)[name], load_seconds, 60.0, nodes)
        _over_time(axes, heard, f"{name}; loading takes {load_seconds:g} s")
    axes.set(yscale="log", xlabel="s; the load triples from 120 to 180 s", ylabel="first audio p95, s")
    axes.set_title(f"pace {pace.name}")


def _over_time(axes: Axes, heard: Sequence[Utterance], label: str) -> None:
    windows: dict[int, list[Utterance]] = {}
    for each in heard:
        windows.setdefault(int(each.asked // WINDOW), []).append(each)
    points = [(number * WINDOW, percentile(first_audio(group), 0.95)) for number, group in sorted(windows.items())]
    axes.plot([time for time, _ in points], [min(wait, 120.0) for _, wait in points], label=label)


def _consul(axes: Axes) -> None:
    sizes = [10, 20, 50, 100, 200, 500, 1000]
    for mode, name in MODES.items():
        loads = [
            steady_load(n, 10 * n, mode, agents=10 * n // CLIENTS_PER_AGENT, changes=n * CHANGES_PER_NODE)
            for n in sizes
        ]
        axes.plot(sizes, [load.cores for load in loads], marker="o", label=f"clients' lists: {name}")
    axes.set(xscale="log", yscale="log", xlabel="nodes, with ten clients each", ylabel="cores of all Consul servers")
