"""The folder that a checkpoint is fetched into."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from glmtts.checkpoint.model_info import FILE as MODEL_INFO
from glmtts.checkpoint.model_info import PARTS
from scripts.fetching.errors import FetchError

BESIDES = ("LICENSE", "LICENSE.md", "README.md", MODEL_INFO)
"""Files in the root that are taken along."""

FOLDERS = (*PARTS, "voices")
PARTIAL = ".partial"
"""Suffix of a file that is being written."""

SPARE_BYTES = 16 << 20
"""For what is written besides the files: manifest, locks, the file system's own."""


def belongs(name: str) -> bool:
    """Whether the relative path `name` is one that a checkpoint has, and inside of the folder."""
    path = PurePosixPath(name)
    inside = len(path.parts) > 1 and path.parts[0] in FOLDERS and ".." not in path.parts
    return (inside or name in BESIDES) and path.suffix != PARTIAL


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Makes `folder` and has it alone: a second process waits until the first is done."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".fetch.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{folder}: another process fetches into it; waiting", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def check_space(folder: Path, needed_bytes: int) -> None:
    """FetchError if the disk has no room for that many more bytes."""
    free = shutil.disk_usage(folder).free
    if needed_bytes and needed_bytes + SPARE_BYTES > free:
        raise FetchError(f"{folder}: expected {needed_bytes + SPARE_BYTES:,} bytes of free disk, got {free:,}")
