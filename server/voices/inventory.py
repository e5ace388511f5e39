"""What is in a folder of voices: what other nodes compare, and what the limits count. Cheap for voices at rest."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from server.voices.folder import FEATURES_KEPT, features_of, unused_files, voice_folders
from server.voices.merge import state_digest
from server.voices.stored_voice import DESCRIPTION, StoredVoice, read_voice

UNSETTLED_SECONDS = 2.0
"""A directory that changed less long ago is read again: its next change may leave the time and all else as it is."""


@dataclass(frozen=True)
class Entry:
    """One directory of a voice. `digest` is its `state_digest`, `size` in bytes.

    `deleted_at`: when the voice was deleted; "" while it has recordings. `untidy_at`: when there will be files to
    remove, in seconds since the epoch.
    """

    digest: str
    size: int
    deleted_at: str
    untidy_at: float


class Inventory:
    """Reads a folder, but each directory in it only after it has changed. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._entries: Mapping[str, tuple[tuple[float, ...], Entry]] = {}

    def read(self) -> dict[str, Entry]:
        """The voices by name, deleted ones included."""
        old, new = self._entries, {}
        for path in voice_folders(self._folder):
            with suppress(OSError):  # removed meanwhile
                stamp = _stamp(path)
                known = old.get(path.name)
                if known is not None and known[0] == stamp and time.time() - max(stamp[:2]) > UNSETTLED_SECONDS:
                    new[path.name] = known
                elif (voice := read_voice(path)) is not None:
                    new[path.name] = (stamp, _entry(voice))
        self._entries = new
        return {name: entry for name, (_, entry) in sorted(new.items())}


def _stamp(path: Path) -> tuple[float, ...]:
    """Changes when the directory or its description does."""
    folder, file = path.stat(), (path / DESCRIPTION).stat()
    return folder.st_mtime, file.st_mtime, folder.st_ino, file.st_ino, file.st_size


def _entry(voice: StoredVoice) -> Entry:
    sizes = [file.stat().st_size for file in voice.path.iterdir()]
    expiries = [file.stat().st_mtime + FEATURES_KEPT for file in features_of(voice)]
    return Entry(
        digest=state_digest(voice),
        size=sum(sizes),
        deleted_at="" if voice.recordings else max(voice.deleted.values(), default=""),
        untidy_at=0.0 if unused_files(voice) else min(expiries, default=float("inf")),
    )


def shared_voices(entries: Mapping[str, Entry]) -> dict[str, str]:
    """The index that nodes exchange: the digests of the voices that others should know of, by name."""
    return {name: entry.digest for name, entry in entries.items() if entry.digest}


def index_digest(index: Mapping[str, str]) -> str:
    """A hash of an index: that of two nodes with the same voices is the same."""
    return hashlib.sha256(json.dumps(index, sort_keys=True).encode()).hexdigest()
