"""scripts/chaos.py: its quick mode, its clean-up, and that its report counts every failure."""

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
from scripts.faults import isolated_host
from scripts.faults.catalogue import FAULTS
from scripts.faults.load import LoadResult, Playout, StreamResult
from scripts.faults.report import Bounds, FaultReport, Times, make_report, table
from tests.helpers.server import ROOT, wait_until

RATE = 24000


class Chaos:
    """scripts/chaos.py as a process; an environment variable marks everything that it starts."""

    def __init__(self, *arguments: str) -> None:
        self._mark = f"CHAOS_TEST={uuid.uuid4().hex}"
        name, _, value = self._mark.partition("=")
        self.process = subprocess.Popen(
            [sys.executable, "scripts/chaos.py", *arguments],
            cwd=ROOT, env={**os.environ, name: value}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def left(self) -> list[Path]:
        """The folders in /proc of the running processes that it started, itself included."""
        return [folder for folder in Path("/proc").glob("[0-9]*") if self._mark in reading(folder / "environ")]

    def stopped(self) -> bool:
        """Whether one of them is stopped by SIGSTOP."""
        return any("T (stopped)" in reading(folder / "status") for folder in self.left())


def reading(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:  # it has ended
        return ""


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The quick mode's output, and its logs."""
    logs = tmp_path_factory.mktemp("chaos")
    chaos = Chaos("--quick", "--logs", str(logs))
    out, err = chaos.process.communicate(timeout=800)
    assert chaos.process.returncode == 0, out + err
    wait_until(lambda: chaos.left() == [], "all processes to end")
    return out, logs


def cells(out: str) -> list[list[str]]:
    """The rows of the table, without its head."""
    return [line.strip("| ").split(" | ") for line in out.splitlines()[2:]]


@pytest.mark.load
@pytest.mark.timeout(900)
def test_nothing_is_lost_duplicated_or_broken(quick: tuple[str, Path]) -> None:
    """Under every fault of the quick mode, while the load goes on."""
    rows = cells(quick[0])
    assert len(rows) == len(QUICK_FAULTS.split(","))
    for row in rows:
        if row[1] == "skipped: needs haproxy":
            continue
        lost, duplicated, _, streams, broken, same = map(int, row[5:11])
        assert (lost, duplicated, broken, same) == (0, 0, 0, streams)
        assert streams >= 6


@pytest.mark.load
@pytest.mark.timeout(900)
def test_a_node_that_is_down_gets_no_requests(quick: tuple[str, Path]) -> None:
    """Consul stops returning it, and then no request goes there; some are retried after a kill."""
    kill, term, stop = cells(quick[0])[1:4]
    for row in (kill, term, stop):
        assert float(row[1]) >= 0
        assert float(row[2]) >= 0
        assert float(row[3]) >= 0, "it came back"
    assert int(kill[4]) >= 1


@pytest.mark.load
@pytest.mark.timeout(900)
def test_the_clocks_did_jump(quick: tuple[str, Path]) -> None:
    """One day ahead and then two days back, in the nodes' own logs."""
    for log in (quick[1] / "clock").glob("node-*.log"):
        days = set(re.findall(r'"time": "[0-9-]+-(\d\d)T', log.read_text(encoding="utf-8")))
        assert len(days) >= 3


@pytest.mark.load
@pytest.mark.parametrize(("fault", "how"), [("none", signal.SIGINT), ("stop", signal.SIGTERM)])
def test_an_interrupted_run_leaves_no_processes(fault: str, how: signal.Signals, tmp_path: Path) -> None:
    """Neither under load, nor while a node is stopped."""
    chaos = Chaos("--quick", "--only", fault, "--logs", str(tmp_path))

    def underway() -> bool:
        begun = (tmp_path / fault / "out" / "results.jsonl").exists()
        return (begun if fault == "none" else chaos.stopped()) or chaos.process.poll() is not None

    wait_until(underway, "the fault", 120)
    assert len(chaos.left()) >= 5
    chaos.process.send_signal(how)
    _, err = chaos.process.communicate(timeout=60)
    assert chaos.process.returncode == 130, err
    # A killed process whose parent has ended may need a moment.
    wait_until(lambda: chaos.left() == [], "all processes to end")


def test_an_unknown_fault_is_rejected() -> None:
    """A typing error starts nothing."""
    command = [sys.executable, "scripts/chaos.py", "--only", "kil"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, "expected names from --list, got kil" in done.stderr) == (2, True)


def stream(seconds: float = 1.0, **more: Any) -> StreamResult:
    return replace(
        StreamResult(
            0, b"\1\0" * round(seconds * RATE), RATE, 0.1, (SegmentReport("a.", ["u"], (), seconds),), complete=True
        ),
        **more,
    )


def report(load: LoadResult, *, logs: tuple[Path, ...] = (), exact: bool = True) -> FaultReport:
    return make_report("x", load, Times(), logs, {0: stream()}, exact=exact)


@pytest.fixture
def load(tmp_path: Path) -> LoadResult:
    """Without failures: two items, one stream."""
    results = [{"id": name, "file": f"{name}.wav", "attempts": 1, "error": None} for name in "ab"]
    for name in "ab":
        (tmp_path / f"{name}.wav").write_bytes(b"RIFF")
    return LoadResult(2, tmp_path, results, [stream()])


def test_a_load_without_failures_passes(load: LoadResult) -> None:
    row = report(load)
    assert row.passed
    assert (row.lost, row.duplicated, row.broken, row.retried, row.joins) == (0, 0, 0, 0, 0)


def test_lost_and_duplicated_items_are_counted(load: LoadResult) -> None:
    """Without a result, with a failed one, without its file, with two results."""
    first, second = load.results
    assert report(replace(load, results=[first])).lost == 1
    failed = {**second, "error": "gone"}
    assert report(replace(load, results=[first, failed])).lost == 1
    assert report(replace(load, results=[first, failed, second])).lost == 0
    assert report(replace(load, results=[first, second, second])).duplicated == 1
    (load.folder / "b.wav").unlink()
    row = report(load)
    assert (row.lost, row.passed) == (1, False)


@pytest.mark.parametrize(
    "broken",
    [
        stream(error="NodeError: gone"),
        stream(complete=False),
        stream(audio=b""),
        stream(1.5),
        stream(0.5),
        stream(segments=(SegmentReport("a.", ["u"]), SegmentReport("a.", ["u"]))),
        stream(segments=()),
    ],
)
def test_a_broken_stream_is_reported(load: LoadResult, broken: StreamResult) -> None:
    """One that raised, did not end, has no audio, is too long or too short, or has other segments."""
    for exact in (True, False):
        row = report(replace(load, streams=[stream(), broken]), exact=exact)
        assert (row.broken, row.passed) == (1, False)
        assert row.problems


def test_other_samples_are_a_defect_only_where_they_must_be_equal(load: LoadResult) -> None:
    """A little longer is fine for a model that samples anew, and a defect of an engine that repeats itself."""
    longer = replace(load, streams=[stream(1.1)])
    assert report(longer, exact=True).broken == 1
    assert report(longer, exact=False).passed
    assert (report(load).same, report(longer, exact=False).same) == (1, 0)
    louder = replace(load, streams=[stream(audio=b"\2\0" * RATE)])
    assert report(louder, exact=False).same == 0


def test_silence_and_late_requests_are_bounded(load: LoadResult) -> None:
    """Each fails the run, and says what was too long."""
    silent = replace(load, streams=[stream(max_silence_seconds=3.2)])
    row = report(silent)
    assert (row.passed, row.max_silence_seconds) == (False, 3.2)
    assert row.problems == ["listener 0: expected at most 3 s of silence, got 3.2 s"]
    assert make_report("x", silent, Times(), (), {}, exact=True, bounds=Bounds(silence=4.0)).passed
    late = make_report("x", load, Times(last_request=2.5), (), {}, exact=True)
    assert (late.passed, len(late.problems)) == (False, 1)
    assert make_report("x", load, Times(last_request=1.9), (), {}, exact=True).passed


def test_silence_is_what_a_listener_in_real_time_hears() -> None:
    """Not a wait while there is audio to play; the wait for the first samples counts."""
    listener = Playout(start=10.0)
    for now, seconds in ((10.5, 2.0), (12.0, 1.0), (14.0, 1.0), (14.1, 1.0)):
        listener.on_samples(now, seconds)
    assert listener.max_silence_seconds == pytest.approx(0.5)
    listener.on_samples(17.0, 1.0)
    assert listener.max_silence_seconds == pytest.approx(1.0)


def test_retries_and_joins_are_counted(load: LoadResult) -> None:
    """Retries of the batch by its attempts, of a stream by the nodes of its segments."""
    load.results[0]["attempts"] = 3
    joined = SegmentReport(
        "a.", ["u", "v"], (SplicePoint(0.1, 0.0, seamless=True), SplicePoint(0.2, 0.1, seamless=False)), 1.0
    )
    row = report(replace(load, streams=[stream(segments=(joined,))]))
    assert (row.retried, row.joins, row.audible) == (3, 2, 1)


def test_wasted_responses_are_read_from_the_logs(load: LoadResult, tmp_path: Path) -> None:
    """Two complete responses to one request; cancelled ones, streams and broken lines don't count."""
    line = {"message": "request", "route": "/tts", "status": 200}
    lines = [
        {**line, "client_request_id": "one-1"},
        {**line, "client_request_id": "one-2"},
        {**line, "client_request_id": "two-1", "error": "cancelled"},
        {**line, "client_request_id": "two-2"},
        {**line, "client_request_id": "one-3", "route": "/tts/stream"},
    ]
    log = tmp_path / "node.log"
    log.write_text("\n".join([*map(json.dumps, lines), '{"message": "requ']))
    row = report(load, logs=(log,))
    assert (row.wasted, row.duplicated, row.passed) == (1, 0, True)


def test_a_fault_that_cannot_be_injected_is_reported_as_skipped(
    monkeypatch: pytest.MonkeyPatch, load: LoadResult
) -> None:
    """With the reason, in a row of its own."""
    monkeypatch.setenv("PATH", "")
    assert isolated_host.unavailable_reason() == "no iproute2"
    rows = table([report(load)], {"partition": isolated_host.unavailable_reason()})
    assert "| partition | skipped: no iproute2 |" in rows


def test_an_isolated_host_is_disconnected_reconnected_and_removed() -> None:
    """The far end answers, does not answer, and answers again; afterwards there is no namespace."""
    if reason := isolated_host.unavailable_reason():
        pytest.skip(reason)
    with isolated_host.isolated_host() as host:
        listener = subprocess.Popen(
            [*host.command_prefix, sys.executable, "-m", "http.server", "--bind", isolated_host.FAR_ADDRESS, "8000"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            wait_until(answers, "the far end to answer")
            host.disconnect()
            assert not answers()
            host.reconnect()
            wait_until(answers, "the far end to answer again")
        finally:
            listener.kill()
            listener.wait()
    left = subprocess.run(["ip", "netns", "list"], check=True, capture_output=True, text=True).stdout
    assert host.name not in left


def answers() -> bool:
    fetch = "import sys, urllib.request as u; u.build_opener(u.ProxyHandler({})).open(sys.argv[1], timeout=2)"
    command = [sys.executable, "-c", fetch, f"http://{isolated_host.FAR_ADDRESS}:8000/"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_the_manual_lists_the_faults_and_valid_flags() -> None:
    """docs/reliability.md has a row for each fault, and its commands parse."""
    manual = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    for fault in FAULTS:
        assert f"| {fault.text.format(duration=f'{fault.duration:g} s')} |" in manual
    commands = re.findall(r"^scripts/chaos\.py (.*?)(?: +#.*)?$", manual, re.MULTILINE)
    assert len(commands) >= 3
    names = {fault.name for fault in FAULTS}
    for command in commands:
        assert set((parser().parse_args(shlex.split(command)).only or "kill").split(",")) <= names
