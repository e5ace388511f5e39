"""The output folder of a batch: audio files, and results.jsonl with the result of each item.

The folder is crash-safe: whenever the program dies, an item is either finished and will not be made again, or has left
nothing behind. The audio is written to a temporary file, then the result is appended, then the file is renamed; a
rename that a crash prevented is completed at the next start.
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
from glmtts_client.errors import ClientError

try:
    import fcntl
except ImportError:  # not on Windows, where nothing prevents a second batch in the same folder
    fcntl = None  # type: ignore[assignment]

RESULTS_FILE = "results.jsonl"
RESULTS_VERSION = 1
"""`version` of the lines; 1 if they do not say."""
LOCK_FILE = ".lock"


class OutputFolder:
    """A folder for one batch at a time. Thread-safe. Entering it takes the folder's lock.

    That raises BlockingIOError, and ClientError if a newer client has written the results.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._lock = threading.Lock()
        self._stack = contextlib.ExitStack()
        self._results: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> OutputFolder:
        with contextlib.ExitStack() as stack:
            lock = stack.enter_context((self._folder / LOCK_FILE).open("ab"))
            if fcntl is not None:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    raise BlockingIOError(f"{self._folder}: another batch uses this folder") from None
            self._results = {str(result["id"]): result for result in self._read_results()}
            self._file = stack.enter_context((self._folder / RESULTS_FILE).open("ab"))
            self._recover()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def is_finished(self, item: Item) -> bool:
        """Whether this item, with this digest, succeeded and its file exists."""
        result = self._results.get(item.name, {})
        done = result.get("error") is None and result.get("digest") == item.digest
        return done and (self._folder / item.file_name).exists()

    def save(self, item: Item, audio: bytes, details: dict[str, Any]) -> dict[str, Any]:
        """Stores a finished item; returns its line of results.jsonl."""
        part = self._part(item.file_name, item.digest)
        with part.open("wb") as file:
            file.write(audio)
            file.flush()
            os.fsync(file.fileno())
        result = {
            "version": RESULTS_VERSION,
            "id": item.name,
            "file": item.file_name,
            "digest": item.digest,
            **details,
            "error": None,
        }
        self._append(result)
        part.replace(self._folder / item.file_name)
        return result

    def record_failure(self, name: str, error: str, details: dict[str, Any] | None = None) -> dict[str, Any]:
        """Stores the failure of an item; returns its line of results.jsonl."""
        result = {"version": RESULTS_VERSION, "id": name, **(details or {}), "error": error}
        self._append(result)
        return result

    def _append(self, result: dict[str, Any]) -> None:
        line = json.dumps(result, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        with self._lock:
            self._file.write(line)
            self._file.flush()
            os.fsync(self._file.fileno())
            self._results[str(result["id"])] = result

    def _read_results(self) -> Iterator[dict[str, Any]]:
        """Every complete line. Truncates a last line that a crash interrupted, so that the next one starts afresh."""
        path = self._folder / RESULTS_FILE
        data = path.read_bytes() if path.exists() else b""
        complete, _, torn = data.rpartition(b"\n")
        if torn:
            os.truncate(path, len(data) - len(torn))
        for line in complete.splitlines():
            with contextlib.suppress(ValueError):
                result = json.loads(line)
                if isinstance(result, dict) and "id" in result:
                    _check_version(path, result)
                    yield result

    def _recover(self) -> None:
        """Renames temporary files whose result was written; deletes all others."""
        done = [result for result in self._results.values() if result.get("error") is None and "file" in result]
        for result in done:
            part = self._part(str(result["file"]), str(result.get("digest")))
            if part.exists():
                part.replace(self._folder / str(result["file"]))
        for part in self._folder.glob(".*.part"):
            part.unlink()

    def _part(self, file_name: str, digest: str) -> Path:
        return self._folder / f".{file_name}.{digest}.part"


def _check_version(path: Path, result: dict[str, Any]) -> None:
    version = result.get("version", 1)
    if version != RESULTS_VERSION:
        raise ClientError(f"{path}: version: expected {RESULTS_VERSION}, got {version!r:.20}; use a newer client")
