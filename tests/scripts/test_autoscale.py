"""scripts/autoscale.py: its quick mode, the published rule as it reads it, and what the controller makes of it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.autoscale import is_good
from scripts.autoscaling.controller import Controller, Rules
from scripts.autoscaling.run import Outcome
from scripts.autoscaling.scaled_object import KEDA, ScaledObject, Trigger, read_scaled_object, scalar
from tests.helpers.server import ROOT


@pytest.mark.load
def test_nodes_come_and_go_and_everyone_is_heard() -> None:
    """The rule of deploy/, from a real Prometheus, over real nodes: the load quadruples, and falls again."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GLMTTS_", "CONSUL_"))}
    command = [sys.executable, "scripts/autoscale.py", "--quick"]
    result = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280, check=False
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    rows = [line.strip("| ").split(" | ") for line in result.stdout.splitlines() if line.startswith("| ")]
    real = {row[0]: row[1] for row in rows[2:]}
    assert real["listeners, without audio"].endswith(", 0")
    assert int(real["most nodes"]) > int(real["nodes at the end"]) >= 2


def test_the_rule_is_that_of_the_file(tmp_path: Path) -> None:
    """Bounds and windows, the latter shorter by the speedup; queries are for one region."""
    rule = read_scaled_object()
    assert rule.rules == Rules(target=rule.triggers[0].threshold)
    assert rule.region == "north"
    fast = read_scaled_object(speedup=10.0)
    assert fast.triggers == rule.triggers
    assert fast.rules == replace(
        rule.rules, up_stabilization=3.0, up_period=6.0, down_stabilization=60.0, down_period=90.0
    )
    text = KEDA.read_text("utf-8")
    for wrong, match in ((text.replace("type: Pods", "type: Percent"), "type Pods"), (text.replace("north", ""), "")):
        other = tmp_path / "keda.yaml"
        other.write_text(wrong, "utf-8")
        if match:
            with pytest.raises(ValueError, match=match):
                read_scaled_object(other)
        else:
            assert read_scaled_object(other).region == ""


def test_the_greatest_ratio_counts() -> None:
    """Of a sum each node has a share; of another value not."""
    rule = ScaledObject([Trigger("a", 20.0, True), Trigger("b", 2.0, False)], Rules(), "north")
    assert rule.ratio({"a": 120.0, "b": 1.0}.__getitem__, 3) == 2.0
    assert rule.ratio({"a": 60.0, "b": 5.0}.__getitem__, 3) == 2.5


def test_a_value_is_a_number() -> None:
    """No series is 0; NaN is no number to scale by."""
    assert scalar([]) == 0.0
    assert scalar([{"value": [1.0, "2.5"]}]) == 2.5
    with pytest.raises(ValueError, match="NaN"):
        scalar([{"value": [1.0, "NaN"]}])


@given(st.lists(st.floats(0.0, 20.0), min_size=1, max_size=200))
def test_the_controller_keeps_to_its_rules(ratios: list[float]) -> None:
    """Whatever the metric does: within the bounds, two nodes a minute up, one in a quarter of an hour down."""
    controller = Controller(Rules(), 2)
    changes = [
        (15.0 * index, controller.sync(15.0 * index, controller.wanted, ratio)) for index, ratio in enumerate(ratios)
    ]
    number = 2
    for now, change in changes:
        number += change
        assert 2 <= number <= 10
        assert sum(max(0, each) for when, each in changes if now - 60.0 < when <= now) <= 2
        assert sum(max(0, -each) for when, each in changes if now - 900.0 < when <= now) <= 1


def test_a_steady_metric_on_target_changes_nothing() -> None:
    """Nor does one within the tolerance."""
    controller = Controller(Rules(), 5)
    assert [controller.sync(15.0 * n, 5, 1.0 + 0.09 * (-1) ** n) for n in range(200)] == [0] * 200


@pytest.mark.parametrize(
    ("outcome", "good"),
    [
        (Outcome(waits=[(0.0, 1.0)], wanted=[(0.0, 2), (1.0, 4), (2.0, 3)]), True),
        (Outcome(waits=[], wanted=[(0.0, 2), (1.0, 4), (2.0, 3)]), False),
        (Outcome(waits=[(0.0, 1.0)], wanted=[(0.0, 2), (1.0, 4)]), False),
        (Outcome(waits=[(0.0, 1.0)], wanted=[(0.0, 2)]), False),
        (Outcome(waits=[(0.0, None)], wanted=[(0.0, 2), (1.0, 4), (2.0, 3)], failures=["gone"]), False),
        (Outcome(waits=[(0.0, 1.0)], wanted=[(0.0, 2), (1.0, 4), (2.0, 3)], exits=[0, 1]), False),
    ],
    ids=["good", "unheard", "up only", "nothing", "lost", "cut"],
)
def test_what_a_good_run_is(outcome: Outcome, good: bool) -> None:
    assert is_good(outcome, 1, 2) is good


def test_changes_of_direction_are_counted() -> None:
    assert Outcome(wanted=[(0.0, 2), (1.0, 4), (2.0, 6), (3.0, 5), (4.0, 4), (5.0, 6)]).turns == 2
