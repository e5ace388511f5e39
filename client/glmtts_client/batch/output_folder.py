"""The output folder of a batch: finished files, and results.jsonl, which says of each item how it went.

Whatever moment the program dies at, an item is either finished, and will not be made again, or it left nothing. An
audio file is written beside its place, then its result is noted, then it is moved there; what a crash leaves between
is completed at the next start. Knows nothing about how sound is made.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from glmtts_client.batch.items import Item

try:
    import fcntl
except ImportError:  # Windows has none: there nobody is kept from starting a batch twice
    fcntl = None  # type: ignore[assignment]

RESULTS_FILE = "results.jsonl"
LOCK_FILE = ".lock"


class OutputFolder:
    """One folder, for one program at a time. Thread-safe. As a context it holds the folder's lock."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._lock = threading.Lock()
        self._stack = contextlib.ExitStack()
        self._last: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> OutputFolder:
        with contextlib.ExitStack() as stack:
            lock = stack.enter_context((self._folder / LOCK_FILE).open("ab"))
            if fcntl is not None:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    raise BlockingIOError(f"{self._folder}: another batch works there") from None
            self._last = {str(entry["id"]): entry for entry in self._read()}
            self._file = stack.enter_context((self._folder / RESULTS_FILE).open("ab"))
            self._recover()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def is_finished(self, item: Item) -> bool:
        """Whether this very item was made and its file is there."""
        entry = self._last.get(item.name, {})
        done = entry.get("error") is None and entry.get("digest") == item.digest
        return done and (self._folder / item.file_name).exists()

    def save(self, item: Item, audio: bytes, facts: dict[str, Any]) -> dict[str, Any]:
        """Stores a finished item; gives the line of results.jsonl."""
        part = self._part(item.file_name, item.digest)
        with part.open("wb") as file:
            file.write(audio)
            file.flush()
            os.fsync(file.fileno())
        entry = {"id": item.name, "file": item.file_name, "digest": item.digest, **facts, "error": None}
        self._note(entry)
        part.replace(self._folder / item.file_name)
        return entry

    def record_failure(self, name: str, error: str, facts: dict[str, Any] | None = None) -> dict[str, Any]:
        """Notes that an item could not be made; gives the line of results.jsonl."""
        entry = {"id": name, **(facts or {}), "error": error}
        self._note(entry)
        return entry

    def _note(self, entry: dict[str, Any]) -> None:
        line = json.dumps(entry, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        with self._lock:
            self._file.write(line)
            self._file.flush()
            os.fsync(self._file.fileno())
            self._last[str(entry["id"])] = entry

    def _read(self) -> Iterator[dict[str, Any]]:
        """Every whole line; one that a crash cut short is cut off, so that the next one does not continue it."""
        path = self._folder / RESULTS_FILE
        data = path.read_bytes() if path.exists() else b""
        whole, _, torn = data.rpartition(b"\n")
        if torn:
            os.truncate(path, len(data) - len(torn))
        for line in whole.splitlines():
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                if isinstance(entry, dict) and "id" in entry:
                    yield entry

    def _recover(self) -> None:
        """Moves files to their places whose results were noted already; removes those of which nothing was noted."""
        made = [entry for entry in self._last.values() if entry.get("error") is None and "file" in entry]
        for entry in made:
            part = self._part(str(entry["file"]), str(entry.get("digest")))
            if part.exists():
                part.replace(self._folder / str(entry["file"]))
        for part in self._folder.glob(".*.part"):
            part.unlink()

    def _part(self, file: str, digest: str) -> Path:
        return self._folder / f".{file}.{digest}.part"
