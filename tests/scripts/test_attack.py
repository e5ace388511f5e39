"""scripts/attack.py: its quick mode on the fake engine, and that its report counts every fault."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import replace

import pytest

from scripts.attacks import target
from scripts.attacks.report import Row, table
from scripts.attacks.target import Observation, Target
from tests.helpers.server import ROOT

HELD = Row("bodies", "10 bodies", Counter({"400": 9, "503": 1}), 100.0, 110.0, Observation([0.01], [0.5]), alive=True)


@pytest.mark.load
@pytest.mark.timeout(600)  # on a busy machine
def test_the_server_holds() -> None:
    """A few of each attack, within a minute and a half or so."""
    command = [sys.executable, "scripts/attack.py", "--quick", "--checkpoint", "fake:"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=590, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        (HELD, None),
        (replace(HELD, alive=False), "crash"),
        (replace(HELD, outcomes=Counter({"500": 1})), "5xx"),
        (replace(HELD, outcomes=Counter({"400 with 5000 bytes": 1})), "answers"),
        (replace(HELD, outcomes=Counter({"two lengths: served [200, 404]": 1})), "answers"),
        (replace(HELD, outcomes=Counter({"undocumented (server error)": 2})), "answers"),
        (replace(HELD, observation=Observation([0.01] * 50 + [9.0], [0.5])), "stall"),
        (replace(HELD, observation=Observation([], [0.5])), "stall"),
        (replace(HELD, observation=Observation([0.01], [0.5, float("inf")])), "others"),
        (replace(HELD, memory_after=170.0), "growth"),
    ],
)
def test_the_report_counts_every_fault(row: Row, fault: str | None) -> None:
    assert row.faults() == ([] if fault is None else [fault])
    assert table([row]).endswith(f"| {fault or 'none'} |")


@pytest.mark.parametrize(
    ("mib", "enough", "settled", "seconds"),
    [
        ([150.0], 160.0, 150.0, 0),
        ([200.0, 190.0, 150.0], 160.0, 150.0, 2),
        ([200.0] * 3 + [150.0] * 90, 0.0, 150.0, 13),
        ([200.0] * 90, 160.0, 200.0, 11),
    ],
    ids=["little at once", "little later", "at rest", "too much at rest"],
)
def test_memory_is_read_at_rest_or_when_it_is_little(
    mib: list[float], enough: float, settled: float, seconds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the server still holds counts as growth only if it keeps it."""
    readings, slept = iter(mib), []
    monkeypatch.setattr(Target, "_resident_mib", lambda _: next(readings))
    monkeypatch.setattr(target.time, "sleep", slept.append)
    assert Target(1, 1, "key").memory_mib(enough) == settled
    assert len(slept) == seconds
