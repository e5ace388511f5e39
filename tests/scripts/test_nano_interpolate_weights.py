"""Interpolation of a stage's averaged weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from scripts.nano import interpolate_weights
from scripts.nano.training import Average, save_state, state_path


def layer(value: float) -> nn.Linear:
    made = nn.Linear(2, 1)
    nn.init.constant_(made.weight, value)
    nn.init.zeros_(made.bias)
    return made


def test_the_average_is_mixed_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three quarters of the current, a quarter of the earlier weights; the latest weights and the step stay."""
    path = state_path(tmp_path, "flow")
    for file, value in ((path, 4.0), (path.with_name("old.pt"), 0.0)):
        save_state(file, {"flow": layer(value), "average": Average(layer(value), 0.0)}, step=7)
    argv = ["mix", "--work", str(tmp_path), "--stage", "flow", "--before", "old.pt", "--share", "0.75"]
    monkeypatch.setattr("sys.argv", argv)
    interpolate_weights.main()
    state = torch.load(path, weights_only=True)
    assert state["step"] == 7
    assert state["modules"]["flow"]["weight"].tolist() == [[4.0, 4.0]]
    average = Average(layer(0.0), 0.0)
    average.load_state_dict(state["modules"]["average"])
    assert average.state()["weight"].tolist() == [[3.0, 3.0]]


@pytest.mark.parametrize("other", [{"b": torch.zeros(2)}, {"a": torch.zeros(3)}])
def test_other_models_are_refused(other: dict[str, torch.Tensor]) -> None:
    with pytest.raises(ValueError, match="different weights"):
        interpolate_weights.interpolate(other, {"a": torch.zeros(2)}, 0.5)
