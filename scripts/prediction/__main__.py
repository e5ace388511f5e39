"""Predicts first audio and audio seconds per second of the published checkpoint on several GPUs; prints Markdown.

    python -m scripts.prediction            the predictions
    python -m scripts.prediction --check    what was measured on an H100, and what the model says of it

Launches, bytes and operations are counted in the code, on tensors without values. The constants and their sources are
in `scripts/prediction/stages.py`, `costs.py`, `listeners.py` and `cards.py`.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

from scripts.prediction.cards import CARDS
from scripts.prediction.checkpoints import published
from scripts.prediction.costs import Costs, Stage
from scripts.prediction.listeners import SCHEDULE, Prediction, paced, predict
from scripts.prediction.measured import figures
from scripts.prediction.stages import Stages

LISTENERS = (1, 2, 4, 8, 16, 32, 64)
ALL: tuple[Stage, ...] = ("prefill", "llm", "flow", "vocoder")


class Mode(NamedTuple):
    """The stages that are graphs, the flow's number format, and whether chunks follow the pace."""

    graphs: tuple[Stage, ...]
    bfloat16: bool = True
    paced: bool = False


MODES = {
    "AR steps as graphs, flow in float32": Mode(("llm",), bfloat16=False),
    "flow and vocoder too, flow in bfloat16": Mode(("llm", "flow", "vocoder")),
    "prompts too": Mode(ALL),
    "and chunks by the pace": Mode(ALL, paced=True),
}


def cell(prediction: Prediction) -> str:
    """First audio in ms, audio seconds per second, and a ! if a stream would fall silent."""
    mark = "" if prediction.worst_silence < 0.02 else "!"
    return f"{1e3 * prediction.first_audio:.0f} · {prediction.audio_per_second:.0f}{mark}"


def predictions() -> list[str]:
    """A table for each card. Where the pace leaves the chunks as they are, they have no row of their own."""
    stages = {bfloat16: Stages(published(flow_in_bfloat16=bfloat16)) for bfloat16 in (False, True)}
    lines = ["| | " + " | ".join(map(str, LISTENERS)) + " |", "|---" * (len(LISTENERS) + 1) + "|"]
    for card in CARDS:
        for name, mode in MODES.items():
            costs = Costs(stages[mode.bfloat16], card, frozenset(mode.graphs))
            schedule = paced(costs) if mode.paced else SCHEDULE
            if mode.paced and schedule == SCHEDULE:
                continue
            cells = [cell(predict(costs, listeners, schedule=schedule)) for listeners in LISTENERS]
            lines.append(f"| {card.name}: {name} | " + " | ".join(cells) + " |")
    return lines


def check() -> list[str]:
    lines = ["| figure | measured | predicted | ratio |", "|---|---|---|---|"]
    return lines + [f"| {one.name} | {one.measured:g} | {one.predicted:.3g} | {one.ratio:.2f} |" for one in figures()]


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--check", action="store_true", help="compare with what was measured")
    print("\n".join(check() if flags.parse_args().check else predictions()))


if __name__ == "__main__":
    main()
