"""Predicts first audio and audio seconds per second of the published checkpoint on several GPUs; prints Markdown.

    python -m scripts.prediction            the predictions
    python -m scripts.prediction --check    what was measured on an H100, and what the model says of it

Launches, bytes and operations are counted in the code, on tensors without values. The constants and their sources are
in `scripts/prediction/stages.py`, `costs.py`, `listeners.py` and `cards.py`.
"""

from __future__ import annotations

import argparse

from scripts.prediction.cards import CARDS
from scripts.prediction.checkpoints import published
from scripts.prediction.costs import Costs, Stage
from scripts.prediction.listeners import Prediction, predict
from scripts.prediction.measured import figures
from scripts.prediction.stages import Stages

LISTENERS = (1, 2, 4, 8, 16, 32, 64)
MODES: dict[str, tuple[tuple[Stage, ...], bool]] = {
    "AR steps as graphs, flow in float32": (("llm",), False),
    "flow and vocoder too, flow in float32": (("llm", "flow", "vocoder"), False),
    "the same, flow in bfloat16": (("llm", "flow", "vocoder"), True),
    "prompts as graphs too": (("prefill", "llm", "flow", "vocoder"), True),
}
"""The stages that are graphs, and whether the flow is in bfloat16."""


def cell(prediction: Prediction) -> str:
    """First audio in ms, audio seconds per second, and a ! if a stream would fall silent."""
    mark = "" if prediction.worst_silence < 0.02 else "!"
    return f"{1e3 * prediction.first_audio:.0f} · {prediction.audio_per_second:.0f}{mark}"


def predictions() -> list[str]:
    """A table for each card."""
    stages = {bfloat16: Stages(published(flow_in_bfloat16=bfloat16)) for bfloat16 in (False, True)}
    lines = ["| | " + " | ".join(map(str, LISTENERS)) + " |", "|---" * (len(LISTENERS) + 1) + "|"]
    for card in CARDS:
        for mode, (graphs, bfloat16) in MODES.items():
            costs = Costs(stages[bfloat16], card, frozenset(graphs))
            cells = [cell(predict(costs, listeners)) for listeners in LISTENERS]
            lines.append(f"| {card.name}: {mode} | " + " | ".join(cells) + " |")
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
