"""scripts/chaos.py: its quick mode, what it leaves behind, and that its judge sees what is wrong."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from glmtts_client.failover_stream import SegmentReport
from glmtts_client.splice import SplicePoint

from scripts.chaos import QUICK_FAULTS, parser
from scripts.faults import network
from scripts.faults.catalogue import FAULTS
from scripts.faults.load import Heard, Work
from scripts.faults.report import Row, Times, judge, table
from tests.helpers.server import ROOT, wait_until

RATE = 24000


class Chaos:
    """scripts/chaos.py as a process, that can be told with all that it starts."""

    def __init__(self, *arguments: str) -> None:
        self._mark = f"CHAOS_TEST={uuid.uuid4().hex}"
        name, _, value = self._mark.partition("=")
        self.process = subprocess.Popen(
            [sys.executable, "scripts/chaos.py", *arguments],
            cwd=ROOT, env={**os.environ, name: value}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def left(self) -> list[Path]:
        """The folders in /proc of what it started, itself included, and is still there."""
        return [folder for folder in Path("/proc").glob("[0-9]*") if self._mark in reading(folder / "environ")]

    def stopped(self) -> bool:
        """Whether SIGSTOP holds one of them."""
        return any("T (stopped)" in reading(folder / "status") for folder in self.left())


def reading(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:  # it has ended
        return ""


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """What the quick mode printed, and its logs."""
    logs = tmp_path_factory.mktemp("chaos")
    chaos = Chaos("--quick", "--logs", str(logs))
    out, err = chaos.process.communicate(timeout=280)
    assert chaos.process.returncode == 0, out + err
    assert chaos.left() == []
    return out, logs


def cells(out: str) -> list[list[str]]:
    """The rows of the table, without its head."""
    return [line.strip("| ").split(" | ") for line in out.splitlines()[2:]]


def test_nothing_is_lost_made_twice_or_broken(quick: tuple[str, Path]) -> None:
    """Under every fault of the quick mode; and work was going on all the while."""
    rows = cells(quick[0])
    assert len(rows) == len(QUICK_FAULTS.split(","))
    for row in rows:
        lost, twice, _, streams, broken, same = map(int, row[5:11])
        assert (lost, twice, broken, same) == (0, 0, 0, streams)
        assert streams >= 6


def test_a_bad_node_is_left(quick: tuple[str, Path]) -> None:
    """Discovery leaves it out, and after that no request goes there; others had to be made again after a kill."""
    kill, term, stop = cells(quick[0])[1:4]
    for row in (kill, term, stop):
        assert float(row[1]) >= 0
        assert float(row[2]) >= 0
        assert float(row[3]) >= 0, "it came back"
    assert int(kill[4]) >= 1


def test_the_clocks_did_jump(quick: tuple[str, Path]) -> None:
    """A day ahead and then two back, in the nodes' own logs."""
    for log in (quick[1] / "clock").glob("node-*.log"):
        days = set(re.findall(r'"time": "[0-9-]+-(\d\d)T', log.read_text(encoding="utf-8")))
        assert len(days) >= 3


@pytest.mark.parametrize(("fault", "how"), [("none", signal.SIGINT), ("stop", signal.SIGTERM)])
def test_interrupted_it_leaves_nothing(fault: str, how: signal.Signals, tmp_path: Path) -> None:
    """Neither while callers are at work, nor while a node is stopped."""
    chaos = Chaos("--quick", "--only", fault, "--logs", str(tmp_path))

    def underway() -> bool:
        begun = (tmp_path / fault / "out" / "results.jsonl").exists()
        return (begun if fault == "none" else chaos.stopped()) or chaos.process.poll() is not None

    wait_until(underway, "the fault", 120)
    assert len(chaos.left()) >= 5
    chaos.process.send_signal(how)
    _, err = chaos.process.communicate(timeout=60)
    assert chaos.process.returncode == 130, err
    assert chaos.left() == []


def test_a_fault_that_there_is_not_is_told() -> None:
    """A typing error tries nothing."""
    command = [sys.executable, "scripts/chaos.py", "--only", "kil"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, "no fault kil" in done.stderr) == (2, True)


def heard(seconds: float = 1.0, **more: Any) -> Heard:
    return replace(
        Heard(0, b"\1\0" * round(seconds * RATE), RATE, 0.1, (SegmentReport("a.", ["u"], (), seconds),), ended=True),
        **more,
    )


def verdict(work: Work, *, logs: tuple[Path, ...] = (), exact: bool = True) -> Row:
    return judge("x", work, Times(), logs, {0: heard()}, exact=exact)


@pytest.fixture
def work(tmp_path: Path) -> Work:
    """All went well: two items, one story."""
    results = [{"id": name, "file": f"{name}.wav", "attempts": 1, "error": None} for name in "ab"]
    for name in "ab":
        (tmp_path / f"{name}.wav").write_bytes(b"RIFF")
    return Work(2, tmp_path, results, [heard()])


def test_what_is_whole_is_good(work: Work) -> None:
    row = verdict(work)
    assert row.good
    assert (row.lost, row.twice, row.broken, row.retried, row.joins) == (0, 0, 0, 0, 0)


def test_items_that_are_lost_or_twice_are_seen(work: Work) -> None:
    """Without a result, with a failed one, without its file, with two results."""
    first, second = work.results
    assert verdict(replace(work, results=[first])).lost == 1
    failed = {**second, "error": "gone"}
    assert verdict(replace(work, results=[first, failed])).lost == 1
    assert verdict(replace(work, results=[first, failed, second])).lost == 0
    assert verdict(replace(work, results=[first, second, second])).twice == 1
    (work.folder / "b.wav").unlink()
    row = verdict(work)
    assert (row.lost, row.good) == (1, False)


@pytest.mark.parametrize(
    "story",
    [
        heard(error="NodeError: gone"),
        heard(ended=False),
        heard(audio=b""),
        heard(1.5),
        heard(0.5),
        heard(segments=(SegmentReport("a.", ["u"]), SegmentReport("a.", ["u"]))),
        heard(segments=()),
    ],
)
def test_a_broken_stream_is_seen(work: Work, story: Heard) -> None:
    """One that raised, did not end, has no sound, is too long or too short, or has other segments."""
    for exact in (True, False):
        row = verdict(replace(work, heard=[heard(), story]), exact=exact)
        assert (row.broken, row.good) == (1, False)
        assert row.troubles


def test_other_samples_count_where_they_must_be_the_same(work: Work) -> None:
    """A little longer is no flaw of a model that draws anew, and one of an engine that repeats itself."""
    longer = replace(work, heard=[heard(1.1)])
    assert verdict(longer, exact=True).broken == 1
    assert verdict(longer, exact=False).good
    assert (verdict(work).same, verdict(longer, exact=False).same) == (1, 0)
    louder = replace(work, heard=[heard(audio=b"\2\0" * RATE)])
    assert verdict(louder, exact=False).same == 0


def test_tries_and_joins_are_counted(work: Work) -> None:
    """Of the batch by its attempts, of a stream by the nodes of its segments."""
    work.results[0]["attempts"] = 3
    joined = SegmentReport(
        "a.", ["u", "v"], (SplicePoint(0.1, 0.0, seamless=True), SplicePoint(0.2, 0.1, seamless=False)), 1.0
    )
    row = verdict(replace(work, heard=[heard(segments=(joined,))]))
    assert (row.retried, row.joins, row.audible) == (3, 2, 1)


def test_what_was_made_in_vain_is_read_from_the_logs(work: Work, tmp_path: Path) -> None:
    """Two whole answers to one request; what was cut short, streamed or is no line does not count."""
    line = {"message": "request", "route": "/tts", "status": 200}
    lines = [
        {**line, "request_id": "one-1"},
        {**line, "request_id": "one-2"},
        {**line, "request_id": "two-1", "error": "cancelled"},
        {**line, "request_id": "two-2"},
        {**line, "request_id": "one-3", "route": "/tts/stream"},
    ]
    log = tmp_path / "node.log"
    log.write_text("\n".join([*map(json.dumps, lines), '{"message": "requ']))
    row = verdict(work, logs=(log,))
    assert (row.vain, row.twice, row.good) == (1, 0, True)


def test_a_fault_that_cannot_be_tried_is_no_pass(monkeypatch: pytest.MonkeyPatch, work: Work) -> None:
    """It says why, in a row of its own."""
    monkeypatch.setenv("PATH", "")
    assert network.obstacle() == "no iproute2"
    assert "| cut | skipped: no iproute2 |" in table([verdict(work)], {"cut": network.obstacle()})


def test_a_link_is_cut_and_joined_and_nothing_is_left() -> None:
    """The far end answers, does not, and does again; afterwards there is no namespace."""
    if why := network.obstacle():
        pytest.skip(why)
    with network.island() as place:
        listener = subprocess.Popen(
            [*place.inside, sys.executable, "-m", "http.server", "--bind", network.THERE, "8000"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            wait_until(answers, "the far end to answer")
            place.cut()
            assert not answers()
            place.join()
            wait_until(answers, "the far end to answer again")
        finally:
            listener.kill()
            listener.wait()
    left = subprocess.run(["ip", "netns", "list"], check=True, capture_output=True, text=True).stdout
    assert place.name not in left


def answers() -> bool:
    fetch = "import sys, urllib.request as u; u.build_opener(u.ProxyHandler({})).open(sys.argv[1], timeout=2)"
    command = [sys.executable, "-c", fetch, f"http://{network.THERE}:8000/"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_the_manual_knows_the_faults_and_the_flags() -> None:
    """docs/reliability.md has a row for each fault, and its commands are ones."""
    manual = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    for fault in FAULTS:
        assert f"| {fault.text.format(hold=f'{fault.hold:g} s')} |" in manual
    commands = re.findall(r"^scripts/chaos\.py (.*?)(?: +#.*)?$", manual, re.MULTILINE)
    assert len(commands) >= 3
    names = {fault.name for fault in FAULTS}
    for command in commands:
        assert set((parser().parse_args(shlex.split(command)).only or "kill").split(",")) <= names
