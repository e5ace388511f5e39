"""Changes to files that survive a crash of the machine: each is there as a whole, or not at all."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

UNFINISHED = ".new-"
"""What the names of temporary files and folders begin with; those of voices and styles have no dot."""


def write_file(path: Path, data: bytes) -> None:
    """Replaces the content of a file. After an error or a crash it has its old content."""
    number, name = tempfile.mkstemp(prefix=UNFINISHED, dir=path.parent)
    try:
        with os.fdopen(number, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Waits until the disk has the folder's entries: only then does a renamed file survive a power cut."""
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """One block at a time for this folder, among all threads, processes and hosts that share it."""
    # A file of its own, opened for writing: NFS can lock neither a folder nor a file that is opened for reading.
    with (folder / ".lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
