"""The output folder: whenever the program dies, an item is finished or has left nothing behind."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from glmtts_client.batch.items import Item
from glmtts_client.batch.output_folder import OutputFolder
from glmtts_client.speech import SpeechOptions

ITEM = Item("a", "Hello.", SpeechOptions(), "d1")
CHANGED = Item("a", "Hello!", SpeechOptions(), "d2")


class DiedError(BaseException):
    """Stands for SIGKILL: no handler catches it."""


def die(*_: Any, **__: Any) -> None:
    raise DiedError


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"results.jsonl", ".lock"}


def test_is_finished(tmp_path: Path) -> None:
    """True for the same item while its file exists."""
    with OutputFolder(tmp_path / "new") as results:
        assert not results.is_finished(ITEM)
        results.save(ITEM, b"sound", {"seconds": 1.0})
        assert results.is_finished(ITEM)
        assert not results.is_finished(CHANGED)
    with OutputFolder(tmp_path / "new") as results:
        assert results.is_finished(ITEM)
        (tmp_path / "new" / "a.wav").unlink()
        assert not results.is_finished(ITEM)
    assert lines(tmp_path / "new") == [
        {"version": 1, "id": "a", "file": "a.wav", "digest": "d1", "seconds": 1.0, "error": None},
    ]


def test_the_last_result_counts(tmp_path: Path) -> None:
    """A failed item is made again."""
    with OutputFolder(tmp_path) as results:
        results.save(ITEM, b"sound", {})
        results.record_failure("a", "gone")
        assert not results.is_finished(ITEM)
    with OutputFolder(tmp_path) as results:
        assert not results.is_finished(ITEM)
        results.save(ITEM, b"sound", {})
    with OutputFolder(tmp_path) as results:
        assert results.is_finished(ITEM)


def test_a_crash_before_the_result_is_written(tmp_path: Path) -> None:
    """Leaves nothing; an older version of the item stays."""
    with OutputFolder(tmp_path) as results:
        results.save(ITEM, b"old", {})
        with patch.object(OutputFolder, "_append", die), pytest.raises(DiedError):
            results.save(CHANGED, b"new", {})
    assert len(files(tmp_path)) == 2
    with OutputFolder(tmp_path) as results:
        assert results.is_finished(ITEM)
        assert not results.is_finished(CHANGED)
    assert files(tmp_path) == {"a.wav"}
    assert (tmp_path / "a.wav").read_bytes() == b"old"


def test_a_crash_before_the_rename(tmp_path: Path) -> None:
    """The next start completes the rename, also over an older version."""
    with OutputFolder(tmp_path) as results:
        results.save(ITEM, b"old", {})
        with patch.object(Path, "replace", die), pytest.raises(DiedError):
            results.save(CHANGED, b"new", {})
    with OutputFolder(tmp_path) as results:
        assert results.is_finished(CHANGED)
    assert files(tmp_path) == {"a.wav"}
    assert (tmp_path / "a.wav").read_bytes() == b"new"


@pytest.mark.parametrize("cut", [1, 10])
def test_a_torn_line_is_truncated(tmp_path: Path, cut: int) -> None:
    """Its item is not finished; the next line is intact."""
    with OutputFolder(tmp_path) as results:
        results.save(Item("b", "", SpeechOptions(), "d"), b"sound", {})
        results.save(ITEM, b"sound", {})
    log = tmp_path / "results.jsonl"
    os.truncate(log, log.stat().st_size - cut)
    with OutputFolder(tmp_path) as results:
        assert results.is_finished(Item("b", "", SpeechOptions(), "d"))
        assert not results.is_finished(ITEM)
        results.save(ITEM, b"sound", {})
    assert [line["id"] for line in lines(tmp_path)] == ["b", "a"]


def test_two_batches_never_share_a_folder(tmp_path: Path) -> None:
    """The second one raises until the first has ended."""
    with OutputFolder(tmp_path), pytest.raises(BlockingIOError, match="another batch"), OutputFolder(tmp_path):
        pass
    with OutputFolder(tmp_path):
        pass
