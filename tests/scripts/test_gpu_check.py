"""The check of a GPU runs all of its parts on a CPU, goes on where a pass stopped, and never repeats a sentence."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from glmtts.engine.runtime.fake import FakeEngine
from glmtts.engine.stats import RecordedCounts
from scripts.gpu_check import environment, parts
from scripts.gpu_check.listeners import plain_steps, recorded_shapes
from scripts.gpu_check.parts import SERVER, Part, PartError, Plan, missing_parts, run_pass
from scripts.gpu_check.state import MAX_ATTEMPTS, State
from scripts.gpu_check.texts import COUNT, sentence
from server.observability.collectors import EngineCollector
from tests.helpers.server import ROOT


@pytest.mark.processes
@pytest.mark.timeout(1500)
def test_the_quick_check_runs_every_part_on_a_cpu(tmp_path: Path) -> None:
    """Stand-in, tests, stages, number formats and listeners; another pass finds nothing left to do."""
    command = ["scripts/gpu_check.sh", "--device", "cpu", "--quick", "--folder", str(tmp_path)]
    own = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    own["VIRTUAL_ENV"] = sys.prefix  # the environment of these tests, whatever else is there
    done = subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True, timeout=1400, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for shown in (
        "2 passed",
        "| AR step, 2 rows |",
        "| vocoder, chunk of 100 tokens, bfloat16 |",
        "| flow | bfloat16 | mean",
    ):
        assert shown in done.stdout
    assert "\n| 1 | " in done.stdout
    assert "\n| 2 | " in done.stdout
    again = subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True, timeout=300, check=False)
    assert again.returncode == 0, again.stderr
    assert ": ok" not in again.stdout
    assert "done; failed: none" in again.stdout


class Counted:
    """A part that fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.calls, self._failures = 0, failures

    def __call__(self, _plan: Plan, _deadline: float) -> dict[str, Any]:
        self.calls += 1
        if self.calls <= self._failures:
            raise PartError("no")
        return {"calls": self.calls}


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan(None, "cuda", tmp_path, quick=True)


def without_listeners(plan: Plan) -> State:
    """A state in which the server will not be started, and so none can be heard."""
    state = State.read(plan.folder / "state.json")
    state.attempts[SERVER] = MAX_ATTEMPTS
    state.add(SERVER, {"error": "no"})
    return state


def test_a_pass_goes_on_where_the_last_one_stopped(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part for which there is no time is left for the next pass, which does not repeat the others."""
    short, long = Counted(), Counted()
    monkeypatch.setattr(parts, "PARTS", (Part("short", 1.0, short), Part("long", 1000.0, long)))
    state = without_listeners(plan)
    run_pass(plan, state, time.monotonic() + 500.0)
    assert missing_parts(plan, state) == ["long"]
    state = State.read(state.file)
    run_pass(plan, state, time.monotonic() + 2000.0)
    assert missing_parts(plan, state) == []
    assert (short.calls, long.calls) == (1, 1)


def test_a_part_that_fails_is_tried_once_more_and_stops_no_other(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice is for good; one that succeeds the second time has not failed."""
    broken, shaky, sound = Counted(failures=9), Counted(failures=1), Counted()
    named = {"broken": broken, "shaky": shaky, "sound": sound}
    monkeypatch.setattr(parts, "PARTS", tuple(Part(name, 1.0, run) for name, run in named.items()))
    state = without_listeners(plan)
    for _ in range(3):
        run_pass(plan, state, time.monotonic() + 100.0)
    assert [part.calls for part in named.values()] == [2, 2, 1]
    assert state.failures() == [SERVER, "broken"]
    assert missing_parts(plan, state) == []


def test_graphs_and_plain_steps_are_read_from_the_metrics() -> None:
    """As the server writes them, whatever the order of the labels."""
    counts = {
        "prefill": RecordedCounts(12, 340, 1),
        "decode": RecordedCounts(28, 9000, 0),
        "flow": RecordedCounts(3, 5, 6),
    }
    stats = replace(FakeEngine().stats(), recorded_steps=counts)
    registry = CollectorRegistry()
    registry.register(EngineCollector(lambda: stats))
    metrics = generate_latest(registry).decode()
    assert recorded_shapes(metrics) == {"prefill graphs": 12, "decode graphs": 28, "flow graphs": 3}
    assert plain_steps(metrics) == 7
    assert recorded_shapes("") == {}


def test_no_two_sentences_are_alike() -> None:
    assert len({sentence(number) for number in range(COUNT)}) == COUNT
    with pytest.raises(ValueError, match="sentence: expected a number"):
        sentence(COUNT)


def test_what_an_environment_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the names of the requirements; markers for other Pythons do not count."""
    assert {"torch", "transformers", "flask", "gunicorn", "pytest"} <= set(environment.required())
    environment.main()
    monkeypatch.setattr(environment, "required", lambda: ["torch", "no-such-distribution"])
    with pytest.raises(SystemExit, match="missing: no-such-distribution"):
        environment.main()
