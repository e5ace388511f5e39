"""scripts/rolling_upgrade.py: its quick mode, what it takes as a release, and that it counts every failure."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from glmtts_client.failover_stream import SegmentReport
from glmtts_client.splice import SplicePoint

from scripts.faults.load import LoadResult, StreamResult
from scripts.rolling_upgrade import problems_of_batch
from scripts.upgrade.client_load import Sessions, summarize
from scripts.upgrade.program import export
from tests.helpers.server import ROOT

QUICK = ("--quick", "--to-checkpoint", "fake:delay=0.02,max_queued=32,version=fake-2")


@pytest.fixture(scope="module")
def quick() -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GLMTTS_", "CONSUL_"))}
    command = [sys.executable, "scripts/rolling_upgrade.py", *QUICK]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280, check=False
    )  # fmt: skip


@pytest.mark.load
def test_nothing_is_lost_and_a_client_stays_on_one_model(quick: subprocess.CompletedProcess[str]) -> None:
    """Three nodes are replaced by ones with another version of the model, under the load of three clients."""
    assert quick.returncode == 0, quick.stdout + quick.stderr
    nodes, clients = (part.splitlines()[2:] for part in quick.stdout.strip().split("\n\n"))
    assert [line.split(" | ")[0] for line in nodes] == ["| node-1", "| node-2", "| node-3"]
    rows = {cells[0]: cells[1:] for cells in (line.strip("| ").split(" | ") for line in clients)}
    for name in ("pinned", "old", "new"):
        items, streams, sessions, lost = map(int, rows[name][:4])
        assert lost == 0
        assert min(items, streams, sessions) > 0
    assert rows["pinned"][-1] == "fake-1"
    assert "fake-2" in rows["new"][-1]


def test_a_release_is_a_folder_a_wheel_or_a_revision(tmp_path: Path) -> None:
    """Each is a folder with app.py in the end; anything else is named."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "app.py").write_text("one")
    assert export(str(source), tmp_path / "a", tmp_path) == source
    with zipfile.ZipFile(tmp_path / "glmtts-1-py3-none-any.whl", "w") as wheel:
        wheel.write(source / "app.py", "app.py")
    assert (
        export(str(tmp_path / "glmtts-1-py3-none-any.whl"), tmp_path / "b", tmp_path) / "app.py"
    ).read_text() == "one"
    for command in (
        ("init", "-q"),
        ("add", "app.py"),
        ("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "One"),
    ):
        subprocess.run(["git", *command], cwd=source, check=True)
    (source / "app.py").write_text("two")
    assert (export("HEAD", tmp_path / "c", source) / "app.py").read_text() == "one"
    with pytest.raises(ValueError, match="expected a folder, a wheel or a revision"):
        export("no-such-revision", tmp_path / "d", source)
    with pytest.raises(ValueError, match=r"expected a program with app\.py, got none"):
        export(str(tmp_path / "c" / ".."), tmp_path / "e", source)


def summary_of(tmp_path: Path, **changes: Any) -> Any:
    (tmp_path / "a.wav").write_bytes(b"sound")
    segments = (SegmentReport("One.", ["a"]), SegmentReport("Two.", ["a", "b"]))
    stream = StreamResult(0, b"\0\0", 24000, segments=segments, complete=True)
    result = {"id": "a", "file": "a.wav", "error": None, "attempts": 2, "model_version": "1"}
    values = {"items": 9, "folder": tmp_path, "results": [result], "streams": [stream], **changes}
    return summarize(LoadResult(**values), Mock(spec=Sessions, count=3, failures=[]))


def test_what_goes_well_is_no_failure(tmp_path: Path) -> None:
    """Retries are counted, of items and of segments."""
    summary = summary_of(tmp_path)
    assert summary.failures == []
    assert (summary.items, summary.streams, summary.sessions, summary.retries) == (1, 1, 3, 2)


@pytest.mark.parametrize(
    "changes",
    [
        {"failure": "OSError: disk full"},
        {"results": [{"id": "a", "error": "gone"}]},
        {"results": [{"id": "b", "file": "b.wav", "error": None}]},
        {"streams": [StreamResult(0, b"\0\0", 24000, error="NodeError: gone")]},
        {"streams": [StreamResult(0, b"", 24000, complete=True)]},
        {"streams": [StreamResult(0, b"\0\0", 24000)]},
    ],
    ids=["batch", "item", "file", "stream", "silent", "endless"],
)
def test_what_fails_is_a_failure(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert len(summary_of(tmp_path, **changes).failures) == 1


def test_cuts_and_lost_history_are_counted(tmp_path: Path) -> None:
    """A splice is a cut, whether it can be heard or not."""
    points = (SplicePoint(1.0, 0.0, True), SplicePoint(2.0, 0.1, False))
    segments = (SegmentReport("One.", splice_points=points), SegmentReport("Two.", used_history=False))
    summary = summary_of(tmp_path, streams=[StreamResult(0, b"\0\0", 24000, segments=segments, complete=True)])
    assert (summary.cut, summary.audible, summary.without_history, summary.segments) == (2, 1, 1, 2)


def test_an_item_that_would_be_made_again_is_a_problem(tmp_path: Path) -> None:
    """The batch of the client before goes on with this one."""
    (tmp_path / "in.jsonl").write_text('{"id": "a", "text": "One."}\n')
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "results.jsonl").write_text('{"id": "a", "file": "a.wav", "digest": "other", "error": null}\n')
    assert problems_of_batch(tmp_path) == ["a: expected to be finished, is not"]
